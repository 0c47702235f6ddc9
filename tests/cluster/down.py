"""Stopping the cluster, with nothing but what is under RUN: the checkout that started it may be gone."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from tests.cluster import cgroups, host, layout, owner, processes
from tests.cluster.made import Journal
from tests.cluster.say import say, step


def stop_all() -> None:
    """Stop every process and remove all that the cluster made on the machine, and its data. Logs and keys stay in the checkout."""
    running = {record.name: record for record in processes.records()}
    with step("stopping the cluster"):
        # Kubelets first: they would start again what is killed below.
        for name in sorted(running, key=lambda name: not name.startswith("kubelet-")):
            if name.startswith("kubelet-"):
                processes.stop(running.pop(name))
        for node in layout.NODES:
            cgroups.kill_members(node.cgroup)
        for record in running.values():
            processes.stop(record, grace_s=2.0)
        cgroups.kill_members(layout.CGROUP)
    remove_shim_sockets(layout.RUN.glob("*"))
    _remove_leftover_links()
    nft = layout.RUN / "nft"
    host.unmount_below(layout.RUN, keep=layout.DATA)
    if host.is_mounted(layout.DATA):
        for child in layout.DATA.iterdir():
            shutil.rmtree(child, ignore_errors=True)
    host.undo(Journal(), [str(nft)] if nft.exists() else [])
    host.unmount_below(layout.RUN)
    if Journal().entries():
        say(f"some of it could not be removed; {layout.RUN} is kept for another `down`")
        return
    shutil.rmtree(layout.RUN)


def remove_shim_sockets(nodes: Iterable[Path]) -> None:
    """Remove the sockets of the shims of nodes, given as their directories in RUN: they are at a fixed place, whatever is configured."""
    for node in nodes:
        for bootstrap in node.glob("containerd/io.containerd.runtime.v2.task/*/*/bootstrap.json"):
            try:
                address = json.loads(bootstrap.read_text())["address"]
            except (ValueError, KeyError):
                continue
            Path(address.removeprefix("unix://")).unlink(missing_ok=True)


def _remove_leftover_links() -> None:
    """Remove the kubelets' links to the logs of pods and libcni's records of networks, where these directories are not ours alone."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{layout.RUN}/"):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob("kubectl-build-cluster-*"):
        result.unlink(missing_ok=True)


def down() -> None:
    """Stop the machine's cluster, whoever owns it, after running tests have ended."""
    host.check_kind()
    with owner.command_lock():
        if not layout.RUN.exists():
            say("no cluster runs here")
            return
        with owner.no_tests():
            begin = time.monotonic()
            stop_all()
        owner.COMMAND_LOCK.unlink()  # who waits for it sees that it is gone, and makes a new one
        say(f"stopped, in {time.monotonic() - begin:.1f} s")
