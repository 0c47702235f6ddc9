"""Start of the plugin in krew's archives: one program under the names of all four, `kubectl-buildkit` where it has another.

In the stand-alone executable this is compiled in. Beside wheels it is launch.py, and its first argument is what the launcher was called.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Run the program that this was started as."""
    if getattr(sys, "frozen", False):
        _forget_own_libraries()
    else:
        sys.path[0] = str(Path(__file__).resolve().parent / "lib")
        del sys.argv[0]
    name = Path(sys.argv[0]).name.removesuffix(".exe")
    if name.startswith("kubectl_complete-"):
        from kubectl_build.cli import complete

        (complete.build_main if name == "kubectl_complete-build" else complete.buildkit_main)()
    from kubectl_build.cli import main as programs

    (programs.build_main if name == "kubectl-build" else programs.buildkit_main)()


def _forget_own_libraries() -> None:
    """Programs that are started from here (git, credential helpers) shall load the system's libraries, not those beside this one."""
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    os.environ.pop("LD_LIBRARY_PATH", None)
    if before:
        os.environ["LD_LIBRARY_PATH"] = before


if __name__ == "__main__":
    main()
