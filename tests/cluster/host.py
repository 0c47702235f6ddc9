"""What the cluster needs of the machine itself: bridge, sysctls, mounts, binfmt entries. Each is journalled, then made, and undone."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tests.cluster import cgroups, layout
from tests.cluster.made import Entry, Journal
from tests.cluster.say import Trouble, say

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_BRIDGE_ADDRESS = "0a:58:0a:4d:00:01"
"""A fixed one, else the bridge takes the address of whichever pod comes and goes."""

# The kubelets and kube-proxy set these and never set them back.
_SYSCTLS_SET_BY_KUBELET = (
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
)
# Made by the kubelet, libcni and the shims at fixed paths.
_FIXED_DIRECTORIES = (
    "/var/log/containers",
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/run/containerd",
    "/var/lib/kubelet",
    "/var/lib/kubelet/device-plugins",
    "/usr/libexec/kubernetes",
    "/usr/libexec/kubernetes/kubelet-plugins",
)

INSTEAD = "or use any cluster in the current kubectl context instead"

EMULATED = {"aarch64": "qemu-aarch64", "arm": "qemu-arm", "s390x": "qemu-s390x"}
"""QEMU's name of an architecture, and the binfmt entry's. ppc64le is left out on purpose: tests need one platform that has no emulator."""


def check_kind() -> None:
    """Raise Trouble, one sentence, on a machine of another kind than the cluster is for, and for a user who may not touch it."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Trouble(
            f"the local cluster needs Linux on x86_64, not {platform.system()} on {platform.machine()}: take such a machine, {INSTEAD}"
        )
    if os.geteuid() != 0:
        raise Trouble(f"the local cluster needs root, for bridges, mounts and cgroups: run this with sudo, {INSTEAD}")


def run(*argv: str) -> str:
    """Run a program of the machine and return its output; raises Trouble with its words."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"{' '.join(argv)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def is_mounted(path: Path) -> bool:
    """Whether something is mounted exactly at path."""
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _link_exists(name: str) -> bool:
    return any(name == found for _, found in socket.if_nameindex())


def make_bridge(journal: Journal) -> None:
    """Make the bridge of all pods with the machine's address on it, and let the machine forward between them."""
    for name in (*_SYSCTLS_SET_BY_KUBELET, "net.ipv4.ip_forward"):
        if _sysctl(name).exists():
            journal.add(Entry("sysctl", name, _sysctl(name).read_text().strip()))
    if not _link_exists(layout.BRIDGE):
        journal.add(Entry("link", layout.BRIDGE))
        run("ip", "link", "add", layout.BRIDGE, "address", _BRIDGE_ADDRESS, "type", "bridge")
    run("ip", "address", "replace", f"{layout.HOST_IP}/16", "dev", layout.BRIDGE)
    run("ip", "link", "set", layout.BRIDGE, "up")
    _sysctl("net.ipv4.ip_forward").write_text("1")
    journal.add(Entry("nft-table", "ip kube-proxy"))
    journal.add(Entry("nft-table", "ip6 kube-proxy"))


def make_directories(journal: Journal) -> None:
    """Note which of the fixed directories are not there yet, so that only these are removed."""
    for name in _FIXED_DIRECTORIES:
        if not Path(name).exists():
            journal.add(Entry("directory", name))


def mount_data(journal: Journal, state: layout.State) -> None:
    """Bind `.cluster/data` to its fixed path, as a peer group of its own: what is mounted below must not show up in the checkout."""
    state.data.mkdir(parents=True, exist_ok=True)
    layout.DATA.mkdir(parents=True, exist_ok=True)
    if is_mounted(layout.DATA):
        return
    journal.add(Entry("mount", str(layout.DATA)))
    run("mount", "--bind", str(state.data), str(layout.DATA))
    run("mount", "--make-private", str(layout.DATA))
    run("mount", "--make-shared", str(layout.DATA))


def register_emulators(journal: Journal, qemu: Mapping[str, Path]) -> None:
    """Register binfmt entries for EMULATED, `qemu` giving each interpreter; an entry that somebody else made is left alone."""
    if not (_BINFMT / "register").exists():
        journal.add(Entry("mount", str(_BINFMT)))
        run("mount", "-t", "binfmt_misc", "none", str(_BINFMT))
    for arch, name in EMULATED.items():
        if (_BINFMT / name).exists():
            continue
        journal.add(Entry("binfmt", name))
        try:
            (_BINFMT / "register").write_bytes(binfmt_line(name, arch, str(qemu[arch])))
        except OSError as exc:
            raise Trouble(f"the kernel does not register {name}: {exc.strerror}") from exc


# ELF: class, byte order, e_machine, and the two bits of the fields that may differ between executables that the emulator runs.
_ELF: dict[str, tuple[int, Literal["little", "big"], int]] = {
    "aarch64": (2, "little", 183),
    "arm": (1, "little", 40),
    "s390x": (2, "big", 22),
}


def binfmt_line(name: str, arch: str, interpreter: str) -> bytes:
    """Return the line for the kernel's `register` file.

    It matches any ET_EXEC or ET_DYN of the architecture, whatever the OS ABI byte says. Flags: F opens the interpreter now, for it to work
    in every container; O hands it the program as a descriptor; C keeps set-user-ID programs working; P keeps argv[0], by which busybox
    knows its applet.
    """
    bits, endian, machine = _ELF[arch]
    identification = b"\x7fELF" + bytes([bits, 1 if endian == "little" else 2, 1]) + bytes(9)
    magic = identification + (2).to_bytes(2, endian) + machine.to_bytes(2, endian)
    mask = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + (0xFFFE).to_bytes(2, endian) + b"\xff\xff"

    def escaped(data: bytes) -> str:
        return "".join(f"\\x{byte:02x}" for byte in data)

    return f":{name}:M::{escaped(magic)}:{escaped(mask)}:{interpreter}:OCPF".encode()


def undo(journal: Journal, nft: Sequence[str]) -> None:
    """Take back everything in the journal, newest first; what cannot be taken back is said and stays in the journal."""
    left: list[Entry] = []
    for entry in reversed(journal.entries()):
        try:
            _undo(entry, nft)
        except (OSError, Trouble) as exc:
            say(f"could not remove {entry.kind} {entry.name}: {exc}")
            left.insert(0, entry)
    journal.keep(left)


def _undo(entry: Entry, nft: Sequence[str]) -> None:
    path = Path(entry.name)
    match entry.kind:
        case "sysctl":
            _sysctl(entry.name).write_text(entry.was)
        case "link":
            if _link_exists(entry.name):
                run("ip", "link", "delete", entry.name)
        case "mount":
            if is_mounted(path):
                run("umount", entry.name)
        case "binfmt":
            if (_BINFMT / entry.name).exists():
                (_BINFMT / entry.name).write_text("-1")
        case "nft-table":
            if nft and f"table {entry.name}" in run(*nft, "list", "tables").splitlines():
                run(*nft, "delete", "table", *entry.name.split())
        case "cgroup":
            cgroups.remove_tree(path)
        case "directory":
            shutil.rmtree(path, ignore_errors=not path.exists())
        case _:
            raise Trouble(f"this version does not know how to remove {entry.kind}")


def unmount_below(directory: Path, keep: Path | None = None) -> None:
    """Unmount everything below a directory (not at it, nor at `keep`), deepest first; a busy one is detached."""
    while below := [path for path in _mounts_below(directory) if path != str(keep)]:
        for mounted in below:
            if subprocess.run(["umount", mounted], capture_output=True, check=False).returncode:
                run("umount", "--lazy", mounted)


def _mounts_below(directory: Path) -> list[str]:
    paths = [line.split()[4].encode().decode("unicode_escape") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    # One that is hidden below a later mount can neither be reached nor be ours.
    return sorted((path for path in paths if path.startswith(f"{directory}{os.sep}") and os.path.lexists(path)), key=len, reverse=True)
