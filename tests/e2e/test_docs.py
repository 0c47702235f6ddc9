"""Every command of the README and of the guides' local path, run as it is printed, in the order in which a reader meets it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.environment import SECURITY
from tests.e2e.kubectl import Namespace
from tests.unit.docs.pages import Block, blocks, pages

_PAGE_SECONDS = 300
_MARK = "=== end of block"
_RUN = [page for page in pages() if any(block.comment == "run" for block in blocks(page))]


@pytest.mark.timeout(_PAGE_SECONDS + 30)
@pytest.mark.parametrize("page", _RUN, ids=lambda page: page.stem)
def test_commands_of_a_page_do_what_it_says(page: Path, make_namespace: Callable[[str], Namespace], checkout: Path, tmp_path: Path) -> None:
    if page.stem == "builders" and SECURITY in os.environ:
        pytest.skip("shows builders that choose their level themselves")
    namespace = make_namespace(f"docs-{page.stem.lower()}")
    directory = tmp_path / "checkout"
    shutil.copytree(checkout, directory)
    found = list(blocks(page))
    script = "".join(f"{block.text}\necho '{_MARK}'\n" for block in found if block.comment == "run")
    home = namespace.kubectl.with_env(HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path / "config"))

    try:
        result = home.shell(f"exec 2>&1\ncd {directory}\nset -eu\n{script}", timeout=_PAGE_SECONDS)
    finally:
        namespace.kubectl("delete", "namespace", namespace.name, "--wait=false").ok()

    result.ok()
    printed = result.stdout.split(f"{_MARK}\n")
    for number, block in _shown(found):
        _check_shown(block, printed[number])


def _shown(found: list[Block]) -> list[tuple[int, Block]]:
    """Each block of output with the number of the run block before it."""
    ran, shown = -1, []
    for block in found:
        ran += block.comment == "run"
        if block.comment == "shows":
            shown.append((ran, block))
    return shown


def _check_shown(block: Block, printed: str) -> None:
    """Assert that all lines of the block were printed, in this order; blanks count as one, and numbers of steps not at all."""
    rest = iter(re.sub(r"\s+", " ", re.sub(r"^#\d+ ", "", line)).strip() for line in printed.splitlines())
    for line in filter(None, (re.sub(r"\s+", " ", line).strip() for line in block.text.splitlines())):
        wanted = re.compile(".*".join(map(re.escape, line.split("…"))))
        assert any(wanted.fullmatch(said) for said in rest), f"{block} shows {line!r}, but this was printed:\n{printed}"
