from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubectl_build.builder.manifests import render
from kubectl_build.builder.security import LADDER
from kubectl_build.builder.spec import BuilderSpec

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (?!threads|---)(?P<threads>[^|]+) \| (?P<suffered>[^|]+) \| (?P<here>[^|]+) \| `(?P<test>[^`|]+)` \|$")
ROWS = [
    line
    for line in (ROOT / "docs/threads.md").read_text().splitlines()
    if line.startswith("| ") and not re.match(r"\| (threads|---)", line)
]


def test_threads_page_has_lines() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS)
def test_thread_names_a_test_that_exists(row: str) -> None:
    """No promise without a test."""
    found = _ROW.match(row)
    assert found is not None, row
    file, _, name = found["test"].partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), found["test"]


@pytest.mark.parametrize("level", LADDER)
def test_pod_of_every_level_has_requests_and_nothing_of_the_node(level: str) -> None:
    pod = render("b", "ns", BuilderSpec(security=level), ("amd64",)).stateful_sets["amd64"]["spec"]["template"]["spec"]

    assert {"cpu", "memory"} <= pod["containers"][0]["resources"]["requests"].keys()
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
