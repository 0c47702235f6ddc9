"""What the rootless variant of the BuildKit image has more: rootlesskit, newuidmap and newgidmap, and a user who may map ids.

As in the stage `rootless` of BuildKit's own Dockerfile, without fuse-overlayfs: kernels of today let a user namespace mount overlayfs.
"""

from __future__ import annotations

from pathlib import Path

from tests.cluster.images.layers import Tree
from tests.cluster.images.linked import Linked
from tests.cluster.images.recipe import Kitchen

TOOLS = ("rootlesskit",)

STATE = "/home/user/.local/share/buildkit"
_UID = 1000
_OWN = ("/home/user", "/home/user/.local", "/home/user/.local/share", STATE, "/home/user/.local/tmp", f"/run/user/{_UID}")
_MAPPERS = {"newuidmap": 7, "newgidmap": 6}
"""With CAP_SETUID and CAP_SETGID. In Debian they are root's by the set-user-ID bit, and as root they need CAP_SYS_ADMIN besides, which a
pod's root has not: a user namespace is its owner's to write to, and the owner is the user."""
_PASSWD = f"root:x:0:0:root:/root:/bin/sh\nuser:x:{_UID}:{_UID}:user:/home/user:/bin/sh\n"

CONFIG = {
    "User": f"{_UID}:{_UID}",
    "Entrypoint": ["rootlesskit", "buildkitd"],
    "Volumes": {STATE: {}},
}
ENVIRONMENT = (
    "HOME=/home/user",
    "USER=user",
    f"XDG_RUNTIME_DIR=/run/user/{_UID}",
    "TMPDIR=/home/user/.local/tmp",
    f"BUILDKIT_HOST=unix:///run/user/{_UID}/buildkit/buildkitd.sock",
)


def layer(kitchen: Kitchen) -> Tree:
    """The tree that makes of the rootful image the rootless one."""
    uidmap = Linked.fetch("uidmap")
    tree = Tree()
    tree.file("/usr/bin/rootlesskit", kitchen.tools["rootlesskit"], mode=0o755)
    for program, capability in _MAPPERS.items():
        tree.file(f"/usr/bin/{program}", uidmap.directory / "usr/bin" / program, mode=0o755, capability=capability)
    uidmap.add_libraries(tree, [Path("usr/bin", program) for program in _MAPPERS])
    tree.file("/etc/passwd", _PASSWD)
    tree.file("/etc/group", f"root:x:0:\nuser:x:{_UID}:\n")
    for file in ("/etc/subuid", "/etc/subgid"):
        tree.file(file, "user:100000:65536\n")
    for folder in _OWN:
        tree.directory(folder, owner=_UID)
    return tree
