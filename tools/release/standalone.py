"""The stand-alone executable for this machine's system and architecture, which needs no Python: a directory made by PyInstaller.

A directory, not one file: that would be unpacked at every start, which takes longer than a warm build. The C library is the system's, so
it runs where that is as new as here, or newer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAME = "kubectl-buildkit"
_ENTRY = Path(__file__).with_name("entry.py")
_ROOT = Path(__file__).parents[2]
_SECONDS = 900

# Found by their names at run time only; never used, but referred to by something, where they are installed.
_BY_NAME = ("kubernetes.client", "kubernetes.config", "rich._unicode_data")
_UNUSED = (
    *("tkinter", "unittest", "pydoc", "lib2to3", "curses", "sqlite3"),
    *("grpc_tools", "hypothesis", "mypy", "mypyc", "pip", "pkg_resources", "pytest", "_pytest", "setuptools"),
)


class ReleaseError(Exception):
    """What a tool said when it failed."""


def build_standalone(target: Path) -> Path:
    """Make directory `target`/kubectl-buildkit with the executable of that name. Raises ReleaseError with the end of PyInstaller's words.

    Some 40 s on two cores. Built from the environment of the Python that runs this, with its versions of everything.
    """
    with tempfile.TemporaryDirectory(prefix="kubectl-build-release-") as work:
        command = [sys.executable, "-m", "PyInstaller", "--onedir", "--noconfirm", "--noupx", "--log-level=WARN", f"--name={NAME}"]
        command += [f"--distpath={target}", f"--workpath={work}", f"--specpath={work}", f"--paths={_ROOT}", "--collect-data=kubectl_build"]
        command += ["--collect-submodules=kubectl_build", *(f"--collect-submodules={name}" for name in _BY_NAME)]
        command += [f"--exclude-module={name}" for name in _UNUSED]
        command += ["--strip"] if shutil.which("strip") else []  # half of it is names for debuggers
        run([*command, str(_ENTRY)], PYTHONHASHSEED="1", PYINSTALLER_CONFIG_DIR=work)
    return target / NAME


def run(command: list[str], **variables: str) -> str:
    """Run a tool and return what it printed. Raises ReleaseError."""
    environment = {**os.environ, **variables}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"{' '.join(command[:4])} ... did not end within {_SECONDS} s") from error
    if done.returncode:
        raise ReleaseError(f"{' '.join(command[:4])} ... failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
