"""The documentation is true where that can be seen without running anything: links, headings, flags, the generated reference."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.docs.pages import DOCS, ROOT, anchors, blocks, commands, headings, links, pages
from tests.unit.docs.reference import PAGE, flags_of_commands, reference
from tests.unit.docs.sentences import is_said

LOCAL_PATH = ("README.md", *(f"docs/guides/{name}.md" for name in ("first-build", "multi-arch", "caching", "rootless", "from-kaniko")))
"""Pages all of whose commands are run, or say why not."""


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    dead = []
    for link in links(page):
        target, _, fragment = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / target).resolve() if target else page
        found = file.exists() and (not fragment or file.suffix != ".md" or fragment in anchors(file))
        dead += [] if found else [link]

    assert dead == []


def test_yaml_of_every_page_can_be_read() -> None:
    found = [block for page in pages() for block in blocks(page) if block.language == "yaml"]

    assert found
    for block in found:
        assert yaml.safe_load(block.text), str(block)


def test_index_names_every_page() -> None:
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "README.md")}
    others = set(pages()) - {DOCS / "README.md", ROOT / "README.md"}

    assert {_name(page) for page in others - linked} == set()


@pytest.mark.parametrize("name", LOCAL_PATH)
def test_commands_of_the_local_path_are_run_or_say_why_not(name: str) -> None:
    found = list(blocks(ROOT / name))
    silent = [str(block) for block in found if block.language == "sh" and not block.comment.startswith(("run", "not run"))]

    assert silent == []
    assert any(block.comment == "run" for block in found)


def test_architecture_shows_the_layers_that_are_checked() -> None:
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]["layers"]
    picture = next(block.text for block in blocks(DOCS / "architecture.md") if block.text.startswith("cli "))

    shown = [re.split(r"[|:,] ?", re.split(r" {2,}", line)[0]) for line in picture.splitlines()]
    assert [[name.strip() for name in names] for names in shown] == [re.findall(r"kubectl_build\.(\w+)", layer) for layer in checked]


def test_troubleshooting_has_only_sentences_that_the_program_says() -> None:
    page = DOCS / "troubleshooting.md"
    unsaid = [
        heading for heading in headings(page) if f"### {heading}" in page.read_text(encoding="utf-8").splitlines() and not is_said(heading)
    ]

    assert unsaid == []


@pytest.mark.parametrize("page", [page for page in pages() if page.name != "threads.md"], ids=_name)
def test_flags_of_printed_commands_exist(page: Path) -> None:
    flags = flags_of_commands()
    unknown = []
    for words, named in commands(page):
        # What follows a verb may be a builder's name.
        verb = next((words[:end] for end in (len(words), *_ends(words)) if words[:end] in flags), None)
        unknown += [f"{words} {flag}" for flag in named if verb is not None and flag not in flags[verb]]

    assert unknown == []


def _containers(node: object) -> Iterator[dict[str, Any]]:
    """Every container of ours in a YAML document: what has our image and arguments."""
    if isinstance(node, dict):
        if "kubectl-build" in str(node.get("image")) and "args" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _containers(item)


def test_arguments_of_containers_in_pages_and_manifests_are_flags_of_build() -> None:
    texts = [(str(block), block.text) for page in pages() for block in blocks(page) if block.language == "yaml"]
    texts += [(_name(file), file.read_text(encoding="utf-8")) for file in sorted((ROOT / "manifests").glob("*.yaml"))]
    known = flags_of_commands()["build"]
    found = [(where, container) for where, text in texts for part in yaml.safe_load_all(text) for container in _containers(part)]
    named = [(where, str(word).partition("=")[0]) for where, container in found for word in container["args"] if str(word).startswith("-")]

    assert {where.partition(":")[0] for where, _ in found} == {"docs/guides/ci.md", "manifests/ci-job.yaml"}
    assert [(where, flag) for where, flag in named if flag not in known] == []


def _ends(words: str) -> list[int]:
    return [match.start() for match in re.finditer(" ", words)][::-1]


def test_reference_of_commands_is_what_they_say_of_themselves() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: make docs"
