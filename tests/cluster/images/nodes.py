"""Images that only nodes need: the pods' sandbox (pause) and docker.io/tonistiigi/binfmt.

Both run on both nodes as amd64 programs, also where the image says arm64: that node is simulated, and its kernel is this machine's.
"""

from __future__ import annotations

from tests.cluster import layout as cluster
from tests.cluster.images import busybox, programs
from tests.cluster.images.layers import Tree
from tests.cluster.images.oci import Image, Layout, Platform
from tests.cluster.images.recipe import Kitchen

# No x86_64 among them: installed on the simulated node, it would put QEMU under every program of this machine.
_EMULATORS = ("aarch64", "arm", "ppc64le", "s390x")
TOOLS = tuple(f"qemu-{name}-static" for name in _EMULATORS)
ARCHITECTURES = tuple(sorted({node.arch for node in cluster.NODES}))


def make_pause(kitchen: Kitchen, layout: Layout) -> None:
    """Fill the layout, and write `<arch>.tar` beside it for the import into each node's containerd."""
    binary = kitchen.scratch / "pause"
    source = cluster.SOURCES / "images" / "pause" / "pause.c"
    programs.run(["gcc", "-Os", "-static", "-s", "-Wall", "-Werror", "-o", str(binary), str(source)], folder=kitchen.scratch)
    tree = Tree()
    tree.file("/pause", binary, mode=0o755)
    layer = layout.layer(tree)
    config = {"Entrypoint": ["/pause"], "User": "65535:65535", "WorkingDir": "/"}
    platforms = [Platform("linux", architecture) for architecture in ARCHITECTURES]
    repository, _, tag = cluster.PAUSE_IMAGE.rpartition(":")
    layout.add(repository, (tag,), [Image(platform=platform, layers=[layer], config=config) for platform in platforms])
    for platform in platforms:
        layout.archive(layout.directory / f"{platform.architecture}.tar", platform=platform)


def make_binfmt(kitchen: Kitchen, layout: Layout) -> None:
    installer = kitchen.scratch / "binfmt"
    programs.build(["."], installer, architecture="amd64", folder=cluster.SOURCES / "images" / "binfmt")
    tree = Tree()
    tree.file("/usr/bin/binfmt", installer, mode=0o755)
    for name in _EMULATORS:
        emulator = kitchen.tools[f"qemu-{name}-static"]
        tree.file(f"/usr/bin/qemu-{name}", emulator, mode=0o755)
        tree.file(f"/usr/share/binfmt/qemu-{name}.conf", emulator.parents[2] / "usr" / "lib" / "binfmt.d" / f"qemu-{name}.conf")
    tree.directory("/proc/sys/fs/binfmt_misc")
    layers = [layout.layer(busybox.rootfs(kitchen.packages, "amd64")), layout.layer(tree)]
    config = {"Env": [f"PATH={busybox.PATH}"], "Entrypoint": ["/usr/bin/binfmt"], "Volumes": {"/tmp": {}}}
    platforms = [Platform("linux", architecture) for architecture in ARCHITECTURES]
    images = [Image(platform=platform, layers=layers, config=config) for platform in platforms]
    layout.add("docker.io/tonistiigi/binfmt", ("latest", "qemu-v7.2.0", "qemu-v10.2.3-68"), images)
