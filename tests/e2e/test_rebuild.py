"""What a second build does again: what changed, or what it is told to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.e2e.kubectl import BuildLog, Namespace

SIZE = 256 << 10


def _build(namespace: Namespace, context: Path, *flags: str) -> BuildLog:
    return BuildLog.of(namespace.kubectl("build", "./", "--progress=rawjson", *flags, cwd=context).ok())


def test_rebuild_after_one_file_changed_sends_only_that_file(namespace: Namespace, context: Callable[..., Path]) -> None:
    files: dict[str, str | bytes] = {"Dockerfile": "FROM busybox\nCOPY . /all\nRUN ls /all\n"}
    tree = context(files | {f"data/{number}": os.urandom(SIZE) for number in range(4)})
    assert _build(namespace, tree).context_bytes() > 4 * SIZE
    (tree / "data" / "2").write_bytes(os.urandom(SIZE))

    changed = _build(namespace, tree)

    assert SIZE <= changed.context_bytes() < 2 * SIZE
    assert len(changed.uncached()) == 2


def test_rebuild_of_thousands_of_files_sends_only_the_one_that_changed(namespace: Namespace, context: Callable[..., Path]) -> None:
    """The key of so many is found by a process of its own (kubectl_build.cli.ahead)."""
    tree = context({"Dockerfile": "FROM busybox\nCOPY . /all\n"} | {f"{number % 20}/{number}": "x" * 1000 for number in range(2500)})
    for number, path in enumerate(sorted(tree.rglob("*"))):
        os.utime(path, ns=(1_700_000_000_000_000_000 + number,) * 2)
    assert _build(namespace, tree).context_bytes() > 2_500_000
    (tree / "7" / "7").write_text("y" * 1000)

    changed = _build(namespace, tree)

    assert 1000 <= changed.context_bytes() < 500_000
    assert len(changed.uncached()) == 1


def test_rebuild_with_no_cache_runs_every_step(namespace: Namespace, context: Callable[..., Path]) -> None:
    tree = context({"Dockerfile": "FROM busybox\nRUN echo once\n"})
    _build(namespace, tree)
    assert _build(namespace, tree).uncached() == []
    assert len(_build(namespace, tree, "--no-cache").uncached()) == 1
