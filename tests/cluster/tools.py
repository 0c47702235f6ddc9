"""The programs the cluster is made of: which there are, and where each comes from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.cluster import debian, layout
from tests.cluster.gobuild import Module
from tests.cluster.say import Trouble

_KUBERNETES = Module(
    name="kubernetes",
    version=layout.KUBERNETES_VERSION,
    packages=tuple(
        f"k8s.io/kubernetes/cmd/{name}"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
    ),
    takes="about 5 minutes",
    versions={
        "k8s.io/component-base/version.gitVersion": layout.KUBERNETES_VERSION,
        "k8s.io/component-base/version.gitMajor": layout.KUBERNETES_VERSION[1:].split(".")[0],
        "k8s.io/component-base/version.gitMinor": layout.KUBERNETES_VERSION.split(".")[1],
    },
)
_BUILDKIT = Module(
    name="buildkit",
    version=layout.BUILDKIT_VERSION,
    packages=(
        "github.com/moby/buildkit/cmd/buildkitd",
        "github.com/moby/buildkit/cmd/buildctl",
        "github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend",
    ),
    takes="about 2 minutes",
    versions={"github.com/moby/buildkit/version.Version": layout.BUILDKIT_VERSION},
)
_BUILDX = Module(
    name="buildx",
    version=layout.BUILDX_VERSION,
    packages=("github.com/docker/buildx/cmd/buildx",),
    takes="about 1 minute",
    versions={"github.com/docker/buildx/version.Version": layout.BUILDX_VERSION},
)
_CONTAINERD_COMMANDS = "github.com/containerd/containerd/v2/cmd/"
_CONTAINERD_VERSION = {"github.com/containerd/containerd/v2/version.Version": layout.CONTAINERD_VERSION}
_CONTAINERD = Module(
    name="containerd",
    version=layout.CONTAINERD_VERSION,
    packages=tuple(_CONTAINERD_COMMANDS + name for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
    takes="about 1 minute",
    versions=_CONTAINERD_VERSION,
)
_CONTAINERD_ARM64 = Module(
    name="containerd-arm64",
    version=layout.CONTAINERD_VERSION,
    directory="containerd",
    packages=(_CONTAINERD_COMMANDS + "containerd",),
    takes="about 10 seconds",
    versions=_CONTAINERD_VERSION,
    replaced_platforms=True,
)
_RUNC = Module(
    name="runc",
    version=layout.RUNC_VERSION,
    packages=("github.com/opencontainers/runc",),
    takes="about 15 seconds",
    link=("-extldflags", "-static"),
    tags="seccomp netgo osusergo",
    static_seccomp=True,
    versions={"main.version": layout.RUNC_VERSION[1:]},
)
_COREDNS = Module(name="coredns", version=layout.COREDNS_VERSION, packages=(".",), takes="about 1 minute")
_ROOTLESSKIT = Module(
    name="rootlesskit",
    version=layout.ROOTLESSKIT_VERSION,
    packages=("github.com/rootless-containers/rootlesskit/v3/cmd/rootlesskit",),
    takes="about 1 minute",
)


def _go(module: Module, program: str) -> Callable[[], Path]:
    return lambda: module.build() / program


def _deb(package: str, path: str) -> Callable[[], Path]:
    return lambda: debian.program(package, path)


def _cni() -> Path:
    if not debian.available():
        for directory in (Path("/opt/cni/bin"), Path("/usr/lib/cni"), Path("/usr/libexec/cni")):
            if (directory / "bridge").exists():
                return directory
        raise Trouble("the CNI plugins are missing: install them (Debian's package is containernetworking-plugins)")
    return debian.package("containernetworking-plugins") / "usr/lib/cni"


def _chromium() -> Path:
    """The machine's own where it has one: parts of it that are installed would be missing beside an unpacked one."""
    own = shutil.which("chromium")
    return Path(own) if own else debian.program("chromium", "usr/lib/chromium/chromium")


def _qemu(arch: str) -> Callable[[], Path]:
    return _deb("qemu-user-static", f"usr/bin/qemu-{arch}-static")


_MAKERS: dict[str, Callable[[], Path]] = {
    **{name: _go(_BUILDKIT, name) for name in ("buildkitd", "buildctl", "dockerfile-frontend")},
    "buildx": _go(_BUILDX, "buildx"),
    "runc": _go(_RUNC, "runc"),
    **{package.rpartition("/")[2]: _go(_KUBERNETES, package.rpartition("/")[2]) for package in _KUBERNETES.packages},
    **{name: _go(_CONTAINERD, name) for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    "containerd-arm64": _go(_CONTAINERD_ARM64, "containerd"),
    "coredns": _go(_COREDNS, "coredns"),
    "rootlesskit": _go(_ROOTLESSKIT, "rootlesskit"),
    "etcd": _deb("etcd-server", "usr/bin/etcd"),
    "docker-registry": _deb("docker-registry", "usr/bin/docker-registry"),
    "skopeo": _deb("skopeo", "usr/bin/skopeo"),
    "chromium": _chromium,
    "tmux": _deb("tmux", "usr/bin/tmux"),
    "nft": _deb("nftables", "usr/sbin/nft"),
    "cni-plugins": _cni,
    **{f"qemu-{arch}-static": _qemu(arch) for arch in ("aarch64", "arm", "s390x", "ppc64le")},
}


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Return where each named program is, having built or fetched what is missing.

    `cni-plugins` is a directory, all others are executable files. Raises Trouble.
    """
    return {name: _MAKERS[name]() for name in names}
