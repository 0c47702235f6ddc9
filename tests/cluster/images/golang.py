"""docker.io/library/golang from this machine's own Go toolchain, for amd64 and arm64, on the busybox root file system.

As the official image: /usr/local/go, GOPATH=/go, GOTOOLCHAIN=local, WORKDIR /go. Tags of old versions carry the same toolchain, because
there is no other; a go.mod that asks for an older Go builds with it all the same.
"""

from __future__ import annotations

from pathlib import Path

from tests.cluster.images import busybox, programs
from tests.cluster.images.layers import Tree
from tests.cluster.images.oci import Image, Layout, Platform
from tests.cluster.images.recipe import Kitchen

_TAGS = ("latest", "alpine", "1", "1-alpine", "1.26", "1.26-alpine", "1.22", "1.22-alpine", "1.11-alpine")
_COMMANDS = ("go", "gofmt")
_TOOLS = ("asm", "cgo", "compile", "cover", "link", "preprofile", "vet")
# Neither needed to build a program: tests with their data, and the sources of the toolchain itself.
_LEFT_OUT = ("testdata", "*_test.go", "cmd")
_GO_ENV = "GOTOOLCHAIN=local\n"


def make(kitchen: Kitchen, layout: Layout) -> None:
    version = (kitchen.goroot / "VERSION").read_text().split()[0].removeprefix("go")
    sources = layout.layer(_sources(kitchen.goroot))
    images = []
    for architecture, variant in (("amd64", ""), ("arm64", "v8")):
        rootfs = busybox.rootfs(kitchen.packages, architecture)
        busybox.add_alpine(rootfs, "3.20")
        rootfs.file("/etc/ssl/certs/ca-certificates.crt", busybox.ca_certificates(kitchen.packages))
        binaries = _build(kitchen, architecture)
        config = {
            "Env": [f"PATH=/go/bin:/usr/local/go/bin:{busybox.PATH}", f"GOLANG_VERSION={version}", "GOTOOLCHAIN=local", "GOPATH=/go"],
            "Cmd": ["/bin/sh"],
            "WorkingDir": "/go",
        }
        layers = [layout.layer(rootfs), sources, layout.layer(_binaries(binaries, architecture))]
        images.append(Image(platform=Platform("linux", architecture, variant), layers=layers, config=config))
    layout.add("docker.io/library/golang", (*_TAGS, version, f"{version}-alpine"), images)


def _sources(goroot: Path) -> Tree:
    """What is the same for each architecture: the standard library, headers for the assembler, and an empty GOPATH."""
    tree = Tree()
    tree.copy(goroot / "src", "/usr/local/go/src", leave_out=_LEFT_OUT)
    tree.copy(goroot / "lib", "/usr/local/go/lib")
    tree.copy(goroot / "pkg" / "include", "/usr/local/go/pkg/include")
    for name in ("VERSION", "LICENSE"):
        tree.file(f"/usr/local/go/{name}", goroot / name)
    tree.file("/usr/local/go/go.env", _GO_ENV)  # this machine's own may name a proxy that only this machine reaches
    for folder in ("/go", "/go/bin", "/go/src"):
        tree.directory(folder, mode=0o1777)
    return tree


def _binaries(folder: Path, architecture: str) -> Tree:
    tree = Tree()
    for name in _COMMANDS:
        tree.file(f"/usr/local/go/bin/{name}", folder / name, mode=0o755)
    for name in _TOOLS:
        tree.file(f"/usr/local/go/pkg/tool/linux_{architecture}/{name}", folder / name, mode=0o755)
    return tree


def _build(kitchen: Kitchen, architecture: str) -> Path:
    """Collect the toolchain's programs in one directory: this machine's own, or cross-built from the toolchain's own sources."""
    target = kitchen.scratch / architecture
    target.mkdir()
    own = kitchen.goroot / "pkg" / "tool" / f"linux_{architecture}"
    if own.is_dir():
        for file in (*(kitchen.goroot / "bin" / name for name in _COMMANDS), *(own / name for name in _TOOLS)):
            (target / file.name).symlink_to(file)
    else:
        packages = [f"cmd/{name}" for name in (*_COMMANDS, *_TOOLS)]
        programs.build(packages, f"{target}/", architecture=architecture, folder=kitchen.goroot / "src")
    return target
