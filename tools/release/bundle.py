"""The plugin for systems that this machine does not run: the wheels of what it needs for that system, and a launcher for Python 3.11."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from tools.release.archives import python_program
from tools.release.standalone import ReleaseError, run
from tools.release.targets import Target

_HERE = Path(__file__).parent
_PYTHON = "3.11"
"""The compiled wheels are for one version of Python; the launchers look for it."""
_ABIS = ("cp311", "abi3", "none")


def fetch_wheels(target: Target, into: Path) -> None:
    """Download the wheels of everything that the plugin needs on `target`, in the versions of this environment. Raises ReleaseError."""
    into.mkdir(parents=True, exist_ok=True)
    needed = _requirements("kubectl-build")
    constraints = into / "constraints.txt"
    constraints.write_text("".join(f"{name}=={found}\n" for name, found in sorted(_versions(needed).items())))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", f"--dest={into}"]
    command += [f"--python-version={_PYTHON}", "--implementation=cp", f"--constraint={constraints}"]
    command += [*(f"--abi={abi}" for abi in _ABIS), *(f"--platform={name}" for name in target.wheels)]
    # pip reads the conditions of requirements as for the machine it runs on.
    run([*command, *needed, *(["colorama"] if target.os == "windows" else [])])
    constraints.unlink()


def write_bundle(target: Target, wheels: Path, own_wheel: Path, into: Path) -> None:
    """Write the plugin into directory `into`, which is made: lib/ with the wheels' contents, the launcher. Raises ReleaseError."""
    library = into / "lib"
    library.mkdir(parents=True)
    for wheel in sorted([*wheels.glob("*.whl"), own_wheel]):
        _unpack(wheel, library)
    shutil.copy(_HERE / "entry.py", into / "launch.py")
    launcher = into / target.executable
    if target.os == "windows":
        launcher.write_bytes(_windows_launcher() + b"#!/usr/bin/env python.exe\r\n" + python_program((_HERE / "windows.py").read_text()))
    else:
        shutil.copy(_HERE / "launch.sh", launcher)
    launcher.chmod(0o755)


def _unpack(wheel: Path, library: Path) -> None:
    """Put a wheel's files where Python finds them; scripts and headers are nobody's business here."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", entry.filename)
            if entry.is_dir() or re.match(r"[^/]+\.data/", name):
                continue
            place = library / name
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise ReleaseError(f'wheel {wheel.name} has a file "{entry.filename}", which is outside of it')
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(entry))


def _windows_launcher() -> bytes:
    """The program that pip puts in front of every script for Windows: it runs the archive behind it with the Python that it names."""
    try:
        from pip._vendor import distlib
    except ImportError as error:
        raise ReleaseError("the launcher for Windows is pip's, and there is no pip in this environment") from error
    return Path(str(distlib.__file__)).with_name("t64.exe").read_bytes()


def _requirements(package: str) -> list[str]:
    return [line for line in requires(package) or () if "extra ==" not in line]


def _versions(requirements: list[str]) -> dict[str, str]:
    """The installed versions of packages and of all that these need in turn."""
    found: dict[str, str] = {}
    waiting = list(requirements)
    while waiting:
        name = re.split(r"[^A-Za-z0-9._-]", waiting.pop(), maxsplit=1)[0]
        if name not in found:
            try:
                found[name] = version(name)
                waiting += _requirements(name)
            except PackageNotFoundError:
                continue  # of another system
    return found
