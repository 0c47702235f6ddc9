"""What one daemon tells of itself over one connection, and its pod by one command."""

from __future__ import annotations

import re
import time

from kubectl_build.buildkit.client import BuildRecord, DaemonInfo
from kubectl_build.buildkit.usage import UsageFilter, UsageTotals, disk_usage
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.exec import run
from kubectl_build.daemons import Link
from kubectl_build.deadlines import deadlines
from kubectl_build.doctor.clocks import clock_skew
from kubectl_build.errors import KubectlBuildError
from kubectl_build.model.platform import qemu_name
from kubectl_build.transport.pod import PodAddress
from kubectl_build.values import dataclass

_ARCHITECTURES = ("amd64", "arm64", "386", "arm", "ppc64le", "riscv64", "s390x", "mips64", "mips64le", "loong64")
_NUMBER = re.compile("[0-9]{1,18}")
_STATE_DIRS = ("/var/lib/buildkit", "/home/user/.local/share/buildkit")
_SCRIPT = """date '+clock %s'
for name in "$@"; do command -v "$name" >/dev/null && echo "program $name"; done
df -Pk {directories} 2>/dev/null | sed 's/^/disk /'
true""".format(directories=" ".join(_STATE_DIRS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What the pod's own programs tell. `skew` is how many seconds its clock is before ours, None when it has no `date`.

    `disk` is bytes in all and free where the cache lies; `emulators` are the architectures whose emulator the image brings.
    """

    skew: float | None = None
    disk: tuple[int, int] | None = None
    emulators: tuple[str, ...] = ()
    has_nc: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """One daemon. `beside` is None for one that is in no pod, and for a pod in which nothing can be run (`refusal` says why)."""

    link: Link
    info: DaemonInfo
    usage: UsageTotals
    builds: tuple[BuildRecord, ...]
    beside: Beside | None = None
    refusal: str = ""


async def take_vitals(link: Link, kube: KubeClient | None) -> Vitals:
    """Ask all of it. The link itself is not to be used afterwards. Raises KubectlBuildError."""
    beside, refusal = None, ""
    if kube is not None and link.pod is not None:
        try:
            beside = await look_beside(kube, link.pod)
        except KubectlBuildError as error:
            refusal = error.message
    usage = UsageTotals.of(await disk_usage(link.client, UsageFilter()))
    builds = tuple(await link.client.history())
    return Vitals(link=link, info=link.info, usage=usage, builds=builds, beside=beside, refusal=refusal)


async def look_beside(kube: KubeClient, pod: PodAddress) -> Beside:
    """Run one command in the pod. Raises KubectlBuildError."""
    programs = ["nc", *(f"buildkit-qemu-{qemu_name(architecture)}" for architecture in _ARCHITECTURES)]
    before = time.time()
    _, stdout, _ = await run(
        kube,
        namespace=pod.namespace,
        pod=pod.name,
        container=pod.container,
        command=["sh", "-c", _SCRIPT, "sh", *programs],
        deadline=deadlines().command,
    )
    return read_beside(stdout.decode(errors="replace"), before, time.time())


def read_beside(text: str, before: float, after: float) -> Beside:
    """Read what the command printed between the times `before` and `after` of our clock."""
    skew: float | None = None
    disk: tuple[int, int] | None = None
    found: set[str] = set()
    for words in map(str.split, text.splitlines()):
        match words:
            case ["clock", seconds] if _NUMBER.fullmatch(seconds):
                skew = clock_skew(int(seconds), before, after)
            case ["program", name]:
                found.add(name)
            case ["disk", _, blocks, _, free, _, _] if _NUMBER.fullmatch(blocks) and _NUMBER.fullmatch(free):
                disk = (int(blocks) * 1024, int(free) * 1024)
            case _:
                continue
    emulators = tuple(arch for arch in _ARCHITECTURES if f"buildkit-qemu-{qemu_name(arch)}" in found)
    return Beside(skew=skew, disk=disk, emulators=emulators, has_nc="nc" in found)
