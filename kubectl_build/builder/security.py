"""The security ladder: what each level changes in a builder's pod, and what speaks against one. Pure.

    userns      privileged, but in a user namespace of the pod: root of the pod is nobody on the node
    rootless    BuildKit's rootless image: no privilege; a user who may map ids, without seccomp and AppArmor, which forbid mounts
    privileged  root on the node

After BuildKit's docs/rootless.md and examples/kubernetes (v0.31.2). Every level needs a namespace that admits Pod Security
"privileged": the baseline forbids `privileged` whatever hostUsers says, and seccomp "Unconfined" too.
"""

from __future__ import annotations

from dataclasses import field

from kubectl_build.builder import names
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

AUTO = "auto"
USERNS = "userns"
ROOTLESS = "rootless"
PRIVILEGED = "privileged"

LADDER = (USERNS, ROOTLESS, PRIVILEGED)
"""From the safest down."""
SECURITY_LEVELS = (AUTO, *LADDER)

ROOTFUL_STATE_DIR = "/var/lib/buildkit"
_ROOTLESS_STATE_DIR = "/home/user/.local/share/buildkit"
_ROOTLESS_ID = 1000
"""The image's user: /etc/subuid has ids for no other."""

HOST_USERS_DROPPED = "HostUsersDropped"
"""The reason of a failure: the API server knows no `hostUsers` and has left it out, so the pod is privileged on its node."""

_BLAMES = (
    "operation not permitted",
    "permission denied",
    "user namespace",
    "usernamespace",
    "user_namespaces",
    "userns",
    "uid_map",
    "gid_map",
    "newuidmap",
    "newgidmap",
    "subuid",
    "idmap",
    "id-map",
    "rootlesskit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What a level makes of a builder's pod.

    `pod` are fields of the pod's spec, `security_context` is that of the daemon's container, `args` are further arguments of the daemon.
    """

    level: str
    image: str
    state_dir: str = ROOTFUL_STATE_DIR
    args: tuple[str, ...] = ()
    pod: JsonObject = field(default_factory=dict)
    security_context: JsonObject


def rung(level: str, image: str) -> Rung:
    """The rung of `level` for a builder whose image is `image`. Where nothing has been decided yet (auto), it is the safest."""
    if level == PRIVILEGED:
        return Rung(level=PRIVILEGED, image=image, security_context={"privileged": True})
    if level == ROOTLESS:
        unconfined = {"type": "Unconfined"}
        return Rung(
            level=ROOTLESS,
            image=rootless_image(image) or image,
            state_dir=_ROOTLESS_STATE_DIR,
            # Kubernetes masks parts of /proc, and then a step cannot have one of its own.
            args=("--oci-worker-no-process-sandbox",),
            # The files of a Secret are root's; by this group the daemon reads them, and owns the volume of a claim. A cache that is there
            # already is not walked through: the owners of files in it mean something.
            pod={"securityContext": {"fsGroup": _ROOTLESS_ID, "fsGroupChangePolicy": "OnRootMismatch"}},
            security_context={
                "runAsUser": _ROOTLESS_ID,
                "runAsGroup": _ROOTLESS_ID,
                "runAsNonRoot": True,
                "seccompProfile": unconfined,
                "appArmorProfile": unconfined,
            },
        )
    return Rung(level=USERNS, image=image, pod={"hostUsers": False}, security_context={"privileged": True})


def rootless_image(image: str) -> str | None:
    """The rootless variant of an image, as the tags of moby/buildkit name it; None for an image that is not known to have one."""
    name, at, _digest = image.partition("@")
    slash = name.rfind("/") + 1
    base, _, tag = name[slash:].partition(":")
    if is_rootless_image(image):
        return image
    if base != "buildkit" or at:
        return None
    return f"{name[:slash]}{base}:" + ("rootless" if tag in ("", "latest") else f"{tag}-rootless")


def is_rootless_image(image: str) -> bool:
    """Whether an image says by its name or tag that its daemon is a rootless one."""
    return "rootless" in image.partition("@")[0].rpartition("/")[2]


def objection(level: str, *, image: str, qemu_install: bool, host_network: bool, asked: bool) -> str:
    """Why a builder cannot be of `level`, going by what else is wanted of it; "" when nothing speaks against it.

    `asked` is whether the level was asked for by name: then an image of any name is taken to be the right one.
    """
    if level == ROOTLESS:
        return "" if asked or rootless_image(image) else f'image "{image}" has no rootless variant that is known'
    if is_rootless_image(image):
        return f'image "{image}" is a rootless one'
    if level == USERNS and host_network:
        return "a pod in a user namespace cannot be in the node's network"
    if level == USERNS and qemu_install:
        # Linux before 6.7 has no binfmt_misc in a user namespace; later ones drop its emulators with its last mount, which is the
        # init container's own.
        return "emulators that are registered in a user namespace go when the init container that registers them ends (--qemu-install)"
    return ""


def level_of(item: JsonObject) -> str:
    """The level of a pod or of a pod template. Before there were levels, all were privileged."""
    return str((item["metadata"].get("annotations") or {}).get(names.ANNOTATION_SECURITY) or PRIVILEGED)


def keeps_host_users(item: JsonObject) -> bool:
    """Whether a pod or a pod template that is to be in a user namespace is so still, as the API server gives it."""
    return level_of(item) != USERNS or (item.get("spec") or {}).get("hostUsers") is False


def blames_level(message: str) -> bool:
    """Whether the words of a runtime or a daemon that could not start speak of what a lower level does without."""
    text = message.lower()
    return any(word in text for word in _BLAMES)


def pod_security_text(namespace: str, message: str) -> str:
    """The sentence for a namespace whose Pod Security refuses a builder's pod with `message`."""
    return f'namespace "{namespace}" does not admit the pods of a builder, of whatever security level: {message}'


def pod_security_hint(namespace: str) -> str:
    """What an admin types against it."""
    return (
        f"an admin of the namespace can allow it: kubectl label namespace {namespace} "
        "pod-security.kubernetes.io/enforce=privileged --overwrite"
    )
