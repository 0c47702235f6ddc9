"""docker.io/moby/buildkit and docker.io/docker/dockerfile, from the BuildKit module that the local cluster pins."""

from __future__ import annotations

from tests.cluster import layout as cluster
from tests.cluster.images import busybox, git, programs, rootless
from tests.cluster.images.layers import Tree
from tests.cluster.images.oci import Image, Layout, Platform
from tests.cluster.images.recipe import Kitchen

TOOLS = ("buildkitd", "buildctl", "runc", *rootless.TOOLS)

# The node arm64-0 is simulated: it runs amd64 programs as well as its kernel does, which is natively. So its entry of the index has the
# amd64 daemon, told to call itself arm64. The node's kernel runs the arm64 programs of its RUN steps with the registered QEMU.
_SIMULATED = """#!/bin/sh
exec /usr/libexec/buildkitd --oci-worker-platform=linux/arm64 "$@"
"""

# frontend/dockerfile/cmd/dockerfile-frontend/Dockerfile and frontend/dockerfile/release/labs/tags of BuildKit v0.31.2
_FRONTEND_LABELS = {
    "moby.buildkit.frontend.network.none": "true",
    "moby.buildkit.frontend.caps": ",".join(
        f"moby.buildkit.frontend.{name}" for name in ("inputs", "subrequests", "contexts", "gitquerystring")
    ),
}
_FRONTEND = "github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend"
_CHANNELS = {("latest", "1"): (), ("labs", "1-labs"): ("dfrundevice",)}


def make_buildkit(kitchen: Kitchen, layout: Layout) -> None:
    rootful, unprivileged = [], []
    fetching, mapping = layout.layer(git.layer()), layout.layer(rootless.layer(kitchen))
    path = f"PATH={busybox.PATH}"
    for architecture in ("amd64", "arm64"):
        rootfs = busybox.rootfs(kitchen.packages, "amd64")
        rootfs.file("/etc/ssl/certs/ca-certificates.crt", busybox.ca_certificates(kitchen.packages))
        daemon = _programs(kitchen, simulated=architecture == "arm64")
        layers = [layout.layer(rootfs), fetching, layout.layer(daemon)]
        platform = Platform("linux", architecture)
        config = {
            "Env": [path, "BUILDKIT_SETUP_CGROUPV2_ROOT=1"],
            "Entrypoint": ["buildkitd"],
            "Volumes": {"/var/lib/buildkit": {}},
            "WorkingDir": "/",
        }
        rootful.append(Image(platform=platform, layers=layers, config=config))
        config = {**rootless.CONFIG, "Env": [path, *rootless.ENVIRONMENT], "WorkingDir": "/"}
        unprivileged.append(Image(platform=platform, layers=[*layers, mapping], config=config))
    layout.add("docker.io/moby/buildkit", (cluster.BUILDKIT_VERSION,), rootful)
    layout.add("docker.io/moby/buildkit", (f"{cluster.BUILDKIT_VERSION}-rootless",), unprivileged)


def make_frontend(kitchen: Kitchen, layout: Layout) -> None:
    for tags, build_tags in _CHANNELS.items():
        images = []
        for architecture in ("amd64", "arm64"):
            binary = kitchen.scratch / f"{tags[0]}-{architecture}"
            programs.build(
                [_FRONTEND],
                binary,
                architecture=architecture,
                folder=cluster.SOURCES / "go" / "buildkit",
                tags=(*build_tags, "netgo", "static_build", "osusergo"),
                variables=(f"main.Version={cluster.BUILDKIT_VERSION}", f"main.Package={_FRONTEND}"),
            )
            tree = Tree()
            tree.file("/bin/dockerfile-frontend", binary, mode=0o755)
            config = {"Env": [f"PATH={busybox.PATH}"], "Entrypoint": ["/bin/dockerfile-frontend"], "Labels": _FRONTEND_LABELS}
            images.append(Image(platform=Platform("linux", architecture), layers=[layout.layer(tree)], config=config))
        layout.add("docker.io/docker/dockerfile", tags, images)


def _programs(kitchen: Kitchen, *, simulated: bool) -> Tree:
    """The daemon, its client and runc as the official image names them, and no emulators: tests need a builder that has none."""
    tree = Tree()
    if simulated:
        tree.file("/usr/bin/buildkitd", _SIMULATED, mode=0o755)
    tree.file("/usr/libexec/buildkitd" if simulated else "/usr/bin/buildkitd", kitchen.tools["buildkitd"], mode=0o755)
    tree.file("/usr/bin/buildctl", kitchen.tools["buildctl"], mode=0o755)
    tree.file("/usr/bin/buildkit-runc", kitchen.tools["runc"], mode=0o755)
    tree.directory("/var/lib/buildkit")
    return tree
