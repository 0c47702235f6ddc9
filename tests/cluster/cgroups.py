"""The cluster's control groups: one tree in every hierarchy, by which all its processes are found again, whatever they forked.

A machine has cgroup v2 alone, or v1 hierarchies (with the v2 one beside them, without controllers).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import layout
from tests.cluster.made import Entry, Journal
from tests.cluster.say import Trouble

DAEMONS = f"{layout.CGROUP}/daemons"
"""Where the cluster's own processes and the containers' shims are; pods are below each node's cgroup."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy; controllers of a v1 one as in its mount options."""

    mount: Path
    unified: bool
    controllers: frozenset[str] = frozenset()


def parse(mountinfo: str) -> list[Hierarchy]:
    """Return the hierarchies that a /proc/self/mountinfo names."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            found.append(Hierarchy(Path(before.split()[4]), kind == "cgroup2", frozenset(options.split(","))))
    return found


def hierarchies() -> list[Hierarchy]:
    return parse(Path("/proc/self/mountinfo").read_text())


def tracking(all_of_them: list[Hierarchy]) -> Path:
    """Return the mount of the hierarchy that says which processes are ours: v1's pids, else the unified one."""
    for hierarchy in all_of_them:
        if "pids" in hierarchy.controllers and not hierarchy.unified:
            return hierarchy.mount
    for hierarchy in all_of_them:
        if hierarchy.unified:
            return hierarchy.mount
    raise Trouble("no cgroup hierarchy with the pids controller is mounted: mount -t cgroup2 none /sys/fs/cgroup")


def make(journal: Journal) -> None:
    """Make the tree in every hierarchy. A kubelet only takes a root that is there in each."""
    all_of_them = hierarchies()
    v2_only = all(hierarchy.unified for hierarchy in all_of_them)
    for hierarchy in all_of_them:
        root = hierarchy.mount / layout.CGROUP
        journal.add(Entry("cgroup", str(root)))
        if hierarchy.unified and v2_only:
            _delegate(hierarchy.mount)
        _make_group(hierarchy, layout.CGROUP)
        if hierarchy.unified and v2_only:
            _delegate(root)
    for name in (DAEMONS, *(node.cgroup for node in layout.NODES)):
        make_below(name)


def make_below(name: str) -> None:
    """Make the group `name`, whose parent is there, in every hierarchy."""
    for hierarchy in hierarchies():
        _make_group(hierarchy, name)


def remove_below(name: str) -> None:
    """Remove a group and all below it, which have no processes any more, from every hierarchy."""
    for hierarchy in hierarchies():
        remove_tree(hierarchy.mount / name)


def _make_group(hierarchy: Hierarchy, name: str) -> None:
    (hierarchy.mount / name).mkdir(exist_ok=True)
    if "cpuset" in hierarchy.controllers:
        _inherit_cpuset(hierarchy.mount / name)


def _delegate(directory: Path) -> None:
    for controller in (directory / "cgroup.controllers").read_text().split():
        try:
            (directory / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as exc:
            raise Trouble(f"cannot enable the {controller} controller in {directory}: {exc.strerror}") from exc


def _inherit_cpuset(directory: Path) -> None:
    """Fill in what a new v1 cpuset leaves empty: no process may join an empty one."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (directory / name).read_text().strip():
            (directory / name).write_text((directory.parent / name).read_text())


def _members(tree: Path) -> Iterator[int]:
    for directory, _, _ in os.walk(tree):
        try:
            yield from map(int, Path(directory, "cgroup.procs").read_text().split())
        except (FileNotFoundError, OSError):
            continue  # removed while we walked


def kill_members(name: str, timeout_s: float = 20.0) -> None:
    """Kill every process in the tree `name` and wait until it is empty. Raises Trouble when some cannot be killed in time."""
    tree = tracking(hierarchies()) / name
    deadline = time.monotonic() + timeout_s
    while left := set(_members(tree)):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise Trouble(f"processes {sorted(left)} of the cluster do not die")
        time.sleep(0.05)


def remove_tree(tree: Path, timeout_s: float = 5.0) -> None:
    """Remove a tree of cgroups; the kernel needs a moment after the last process of each has gone."""
    deadline = time.monotonic() + timeout_s
    for directory, _, _ in sorted(os.walk(tree), key=lambda found: len(found[0]), reverse=True):
        while True:
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            break
