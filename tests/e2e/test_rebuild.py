"""What is not done twice: files already sent, steps already run. And what the context holds arrives as it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.e2e.kubectl import BuildLog, Namespace, Result
from tests.e2e.registry import Registry

BIG = 1 << 20


def _build(namespace: Namespace, context: Path, *flags: str) -> Result:
    return namespace.kubectl("build", "./", "--progress=rawjson", *flags, cwd=context).ok()


def test_rebuild_of_a_copy_with_its_times_sends_no_file_again(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"Dockerfile": "FROM busybox\nCOPY . /all\nRUN ls /all\n"}
    files |= {f"data/{number}": os.urandom(BIG // 4) for number in range(4)}
    first = context(files)
    assert BuildLog.of(_build(namespace, first)).context_bytes() > BIG

    again = BuildLog.of(_build(namespace, first))
    assert again.uncached() == []
    assert 0 <= again.context_bytes() < 10_000

    other = tmp_path / "elsewhere" / "deeper" / first.name
    other.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", first, other], check=True, timeout=20)
    copy = BuildLog.of(_build(namespace, other))
    assert copy.uncached() == []
    assert 0 <= copy.context_bytes() < 10_000

    (other / "data" / "2").write_bytes(os.urandom(BIG // 4))
    changed = BuildLog.of(_build(namespace, other))
    assert BIG // 4 <= changed.context_bytes() < BIG // 2
    assert len(changed.uncached()) == 2


def test_rebuild_with_no_cache_runs_every_step(namespace: Namespace, context: Callable[..., Path]) -> None:
    tree = context({"Dockerfile": "FROM busybox\nRUN echo once\n"})
    _build(namespace, tree)
    assert BuildLog.of(_build(namespace, tree)).uncached() == []
    assert len(BuildLog.of(_build(namespace, tree, "--no-cache")).uncached()) == 1


def test_rebuild_dockerignore_of_5000_lines_is_obeyed(namespace: Namespace, context: Callable[..., Path]) -> None:
    ignored = [f"secret-{number}.txt" for number in range(4998)]
    tree = context(
        {
            "Dockerfile": "FROM busybox\nCOPY . /all\nRUN ls /all | tr '\\n' ' ' && echo :end\n",
            ".dockerignore": "\n".join([*ignored, "*.log", "!keep.log"]) + "\n",
            "secret-0.txt": "no",
            "secret-4997.txt": "no",
            "secret-4998.txt": "yes",
            "a.log": "no",
            "keep.log": "yes",
        }
    )
    assert "Dockerfile keep.log secret-4998.txt :end" in BuildLog.of(_build(namespace, tree)).output


def test_rebuild_context_arrives_with_modes_links_and_odd_names(
    namespace: Namespace, context: Callable[..., Path], registry: Registry
) -> None:
    tree = context({"Dockerfile": "FROM busybox\nCOPY . /all\nRUN cd /all && stat -c '%n|%a|%F|%h' * > /facts && cat sym >> /facts\n"})
    (tree / "plain").write_text("text\n")
    (tree / "plain").chmod(0o640)
    (tree / "tool").write_text("#!/bin/sh\n")
    (tree / "tool").chmod(0o4755)
    os.link(tree / "plain", tree / "twin")
    (tree / "sym").symlink_to("plain")
    (tree / "dangling").symlink_to("/nowhere/at/all")
    (tree / "gr\u00f6\u00dfe \n'x").write_text("odd")
    (tree / "empty-directory").mkdir(mode=0o700)
    repository = namespace.repository("odd")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    _build(namespace, tree, "-t", name, "--push", "--registry-secret=my-secret")
    image = registry.image(repository, "v1")
    facts = image.files["facts"].decode()
    for line in (
        "plain|640|regular file|2",
        "twin|640|regular file|2",
        "tool|4755|regular file|1",
        "sym|777|symbolic link|1",
        "dangling|777|symbolic link|1",
        "empty-directory|700|directory|2",
    ):
        assert line in facts.splitlines()
    assert facts.endswith("text\n")
    assert image.files["all/gr\u00f6\u00dfe \n'x"] == b"odd"
