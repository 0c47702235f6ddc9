"""One node more, for tests that break a node: started by them, tainted, and gone afterwards.

It has a containerd and a kubelet like the others, in control groups of its own, so that nothing of it can stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.cluster import cgroups, down, host, images, nodes, pki, processes, tools
from tests.cluster.api import Api, wait
from tests.cluster.layout import SPARE, STATE
from tests.cluster.processes import Process

_PATH = f"/api/v1/nodes/{SPARE.name}"
_DAEMONS = f"{SPARE.cgroup}-daemons"
_HINT = f"the logs are in {STATE.logs}"
_NOT_READY = {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
_TOOLS = tuple(sorted({*nodes.TOOLS, *images.TOOLS}))


@dataclass(frozen=True, slots=True)
class Spare:
    """The node that runs."""

    containerd: Process
    kubelet: Process

    def stop(self, process: Process) -> None:
        """End one of its processes, which is asked first, as a service manager does."""
        record = processes.record_of(process.name)
        assert record is not None, f"{process.name} does not run"
        processes.stop(record)

    def start(self, process: Process) -> None:
        """Start one of its processes again, or see that it runs."""
        processes.start(process, STATE.logs)

    def ready(self) -> bool:
        """Whether the cluster takes the node for one that works: the taint of one that does not goes a moment after the condition comes."""
        found = Api(STATE.pki).get(_PATH) or {"status": {}, "spec": {}}
        taints = {taint["key"] for taint in found["spec"].get("taints", ())}
        conditions = {item["type"]: item["status"] for item in found["status"].get("conditions", ())}
        return conditions.get("Ready") == "True" and not taints & _NOT_READY


@contextmanager
def open_spare() -> Iterator[Spare]:
    """Run the node until the body ends; raises Trouble when it does not become Ready."""
    found = tools.ensure(_TOOLS)
    made = images.ensure(found, lambda _: None)
    _remove()
    try:
        for name in (SPARE.cgroup, _DAEMONS):
            cgroups.make_below(name)
        pki.make(STATE.pki, pki.of_node(SPARE))
        spare = Spare(
            replace(nodes.containerd(SPARE, found, STATE.registries / "registry" / "ca.crt"), cgroup=_DAEMONS),
            replace(nodes.kubelet(SPARE, found, STATE.pki), cgroup=_DAEMONS),
        )
        spare.start(spare.containerd)
        wait(lambda: nodes.import_pause(SPARE, found["ctr"], made.archives[SPARE.arch]), 30, _HINT)
        spare.start(spare.kubelet)
        wait(lambda: "" if spare.ready() else f"node {SPARE.name} is not Ready", 60, _HINT)
        yield spare
    finally:
        _remove()


def _remove() -> None:
    """Remove all of the node, also what an interrupted run has left."""
    for name in (f"kubelet-{SPARE.name}", f"containerd-{SPARE.name}"):
        if record := processes.record_of(name):
            processes.stop(record)
    for group in (SPARE.cgroup, _DAEMONS):
        cgroups.kill_members(group)
        cgroups.remove_below(group)
    down.remove_shim_sockets([SPARE.run])
    for directory in (SPARE.run, SPARE.data):
        host.unmount_below(directory)
        shutil.rmtree(directory, ignore_errors=True)
    Api(STATE.pki).delete(_PATH)
