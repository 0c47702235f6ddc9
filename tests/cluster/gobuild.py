"""Programs built from Go modules, each from a go.mod of its own under go/, with visible progress."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tests.cluster import cache, debian, layout
from tests.cluster.say import Trouble, say

_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One go.mod and what is built from it; `takes` tells the user how long it took on 2 cores with nothing cached."""

    name: str
    version: str
    packages: tuple[str, ...]
    takes: str
    link: tuple[str, ...] = ()
    tags: str = ""
    static_seccomp: bool = False
    directory: str = ""
    replaced_platforms: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return layout.SOURCES / "go" / (self.directory or self.name)

    def link_flags(self) -> str:
        return " ".join(["-s", "-w", *self.link, *(f"-X {name}={value}" for name, value in self.versions.items())])

    def cache_item(self) -> str:
        """Name the cache's directory: the version, and a hash of everything that decides the result."""
        files = sorted(file for file in self.source.rglob("*") if file.suffix in {".mod", ".sum", ".go"})
        return f"{self.name}-{self.version}-{cache.key([_go_version(), *self.packages, self.link_flags(), self.tags, *files])}"

    def build(self) -> Path:
        """Return the directory with the built programs."""
        return cache.ensure("bin", self.cache_item(), self._make)

    def _make(self, output: Path) -> None:
        say(f"building {self.name} {self.version} ({self.takes} the first time)")
        environment = os.environ | {"CGO_ENABLED": "1" if self.static_seccomp else "0", "GOWORK": "off"}
        if self.static_seccomp:
            environment |= _seccomp()
        argv = ["go", "build", "-v", "-trimpath", "-ldflags", self.link_flags(), "-tags", self.tags]
        work = output / ".work"
        if self.replaced_platforms:
            argv += ["-modfile", str(_replace_platforms(self.source, work))]
        _go(self.name, [*argv, "-o", f"{output}/", *self.packages], self.source, environment)
        if work.exists():
            shutil.rmtree(work)


@lru_cache
def _go_version() -> str:
    if shutil.which("go") is None:
        raise Trouble("go is missing: install Go 1.25 or later (https://go.dev/dl), it builds the cluster's programs")
    return subprocess.run(["go", "env", "GOVERSION", "GOARCH"], capture_output=True, text=True, check=True).stdout


def _go(name: str, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
    """Run a build; its -v lines (one for each package compiled) become a count every ten seconds."""
    begin = said = time.monotonic()
    tail: list[str] = []
    compiled = 0
    with subprocess.Popen(argv, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            tail = [*tail[-40:], line.rstrip()]
            compiled += 1
            if time.monotonic() - said > _EVERY_S:
                said = time.monotonic()
                say(f"  {name}: {compiled} packages, {said - begin:.0f} s")
    if process.returncode:
        raise Trouble(f"building {name} failed:\n" + "\n".join(tail))
    say(f"  {name}: built in {time.monotonic() - begin:.0f} s")


def _seccomp() -> dict[str, str]:
    """Return the cgo settings that find a static libseccomp: the machine's own, or the one of a fetched package."""
    if shutil.which("gcc") is None or shutil.which("pkg-config") is None:
        raise Trouble("gcc or pkg-config is missing, runc needs them: apt-get install gcc libc6-dev pkg-config")
    if subprocess.run(["pkg-config", "--exists", "libseccomp"], check=False).returncode == 0:
        return {}
    if not debian.available():
        raise Trouble("runc needs libseccomp's headers and static library: install them (Debian's package is libseccomp-dev)")
    root = debian.package("libseccomp-dev")
    library = next(root.glob("usr/lib/*/libseccomp.a")).parent
    return {
        "CGO_CFLAGS": f"-I{root}/usr/include",
        "CGO_LDFLAGS": f"-L{library}",
        "PKG_CONFIG_PATH": f"{library}/pkgconfig",
        "PKG_CONFIG_SYSROOT_DIR": str(root),
    }


def _replace_platforms(source: Path, work: Path) -> Path:
    """Copy containerd/platforms out of the module cache with our defaults in it; return a go.mod that replaces it by the copy."""

    def go(*argv: str) -> str:
        return subprocess.run(["go", *argv], cwd=source, capture_output=True, text=True, check=True).stdout.strip()

    work.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(source / name, work / name)
    go("mod", "download", "github.com/containerd/platforms")
    copy = work / "platforms"
    shutil.copytree(go("list", "-m", "-f", "{{.Dir}}", "github.com/containerd/platforms"), copy)
    copy.chmod(0o755)  # the module cache is read-only
    (copy / "defaults_unix.go").unlink()
    shutil.copyfile(source / "platforms" / "defaults_unix.go", copy / "defaults_unix.go")
    go("mod", "edit", f"-replace=github.com/containerd/platforms={copy}", str(work / "go.mod"))
    return work / "go.mod"
