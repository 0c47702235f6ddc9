"""Debian's git for the BuildKit image: the daemon runs it to fetch git contexts, as it does in the official image.

Perl, on which the package depends too, is for commands that a fetch does not use.
"""

from __future__ import annotations

from pathlib import Path

from tests.cluster.images.layers import Tree
from tests.cluster.images.linked import Linked

_PROGRAMS = ("git", "git-remote-http", "git-submodule", "git-sh-setup", "git-sh-i18n", "git-sh-i18n--envsubst")
_CORE = Path("usr/lib/git-core")


def layer() -> Tree:
    """The tree with git at /usr/bin/git, its helpers, and the libraries of both."""
    git = Linked.fetch("git")
    tree = Tree()
    for program in _PROGRAMS:
        tree.file(f"/{_CORE}/{program}", git.directory / _CORE / program, mode=0o755)
    tree.symlink("/usr/bin/git", "../lib/git-core/git")
    tree.symlink(f"/{_CORE}/git-remote-https", "git-remote-http")
    tree.copy(git.directory / "usr/share/git-core", "/usr/share/git-core")
    git.add_libraries(tree, [_CORE / "git", _CORE / "git-remote-http"])
    return tree
