"""Programs of Debian packages, unpacked into the cache: nothing is installed, and no service is started, on the machine itself."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import cache
from tests.cluster.say import Trouble, say


def _os_release() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except FileNotFoundError:
        return "unknown"
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return f"{fields.get('ID', 'unknown')}-{fields.get('VERSION_ID', 'x')}".replace('"', "")


def available() -> bool:
    """Whether this machine's packages come from apt."""
    return all(shutil.which(tool) for tool in ("apt-get", "dpkg"))


def _run(argv: Sequence[str], cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})
    if done.returncode:
        raise Trouble(f"{shlex.join(argv)} failed: {done.stderr.strip().splitlines()[-1:] or done.stdout.strip()[-200:]}")
    return done.stdout


def _missing_closure(package: str, cwd: Path) -> list[str]:
    """Return the package and those of its dependencies that this machine has not installed."""
    simulate = ["apt-get", "--simulate", "--no-install-recommends", "install", package]
    try:
        out = _run(simulate, cwd)
    except Trouble:
        say(f"apt does not know {package} yet: apt-get update")
        _run(["apt-get", "update"], cwd)
        out = _run(simulate, cwd)
    names = [line.split()[1] for line in out.splitlines() if line.startswith("Inst ")]
    return names if package in names else [package, *names]


def fetch(packages: Sequence[str], directory: Path) -> None:
    """Download packages with apt-get and unpack them below `directory`; raises Trouble with apt's words."""
    debs = directory / ".debs"
    debs.mkdir()
    sandbox = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    _run(["apt-get", *sandbox, "download", *packages], debs)
    for deb in sorted(debs.iterdir()):
        _run(["dpkg", "-x", str(deb), str(directory)], directory)
    shutil.rmtree(debs)


def package(name: str) -> Path:
    """Return the root of an unpacked package with whatever libraries this machine lacks for it."""

    def make(directory: Path) -> None:
        say(f"fetching the Debian package {name}")
        fetch(_missing_closure(name, directory), directory)

    return cache.ensure("bin", f"{name}-{_os_release()}", make)


def program(package_name: str, path: str) -> Path:
    """Return a runnable `path` (below the package's root), behind a wrapper where it brings its own libraries.

    Falls back to the machine's own program of that name where there is no apt.
    """
    name = Path(path).name
    if not available():
        own = shutil.which(name)
        if own:
            return Path(own)
        raise Trouble(f"{name} is missing and there is no apt-get to fetch it: install it (Debian's package is {package_name})")
    root = package(package_name)
    libraries = sorted({file.parent for file in root.glob("usr/lib/**/*.so.*")})
    if not libraries:
        return root / path
    wrapper = root / "wrapped" / name
    if not wrapper.exists():
        wrapper.parent.mkdir(exist_ok=True)
        partial = wrapper.with_name(f".{name}-{os.getpid()}")
        search = ":".join(map(str, libraries))
        partial.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(search)} exec {shlex.quote(str(root / path))} "$@"\n')
        partial.chmod(0o755)
        partial.rename(wrapper)
    return wrapper
