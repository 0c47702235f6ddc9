"""Bringing the cluster up: build what is missing, start what does not run, heal what died, and wait until pods run on both nodes.

Every step looks first and does nothing when its work is done, so a call on a running cluster is the same code and takes a second or two.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import cgroups, controlplane, environment, host, images, layout, nodes, objects, owner, pki, processes, registries, tools
from tests.cluster.api import Api, Unreachable, wait
from tests.cluster.down import stop_all
from tests.cluster.layout import STATE
from tests.cluster.made import Journal
from tests.cluster.processes import Process
from tests.cluster.registries import Kind, Registry
from tests.cluster.say import Trouble, say, step

_FOR_USERS = ("kubectl", "buildctl", "skopeo", "ctr")
_QEMU = {arch: f"qemu-{arch}-static" for arch in host.EMULATED}
_ALL_TOOLS = {*controlplane.TOOLS, *nodes.TOOLS, *images.TOOLS, *_FOR_USERS, *_QEMU.values(), "docker-registry"}


def preflight() -> None:
    """Raise Trouble, one sentence, when this machine cannot hold the cluster."""
    host.check_kind()
    for tool, package in {"ip": "iproute2", "mount": "mount", "openssl": "openssl", "go": "golang (1.25 or later)", "gcc": "gcc"}.items():
        if shutil.which(tool) is None:
            raise Trouble(f"{tool} is missing: install {package}; {host.INSTEAD}")


def take_over() -> None:
    """Stop the cluster of another checkout, after its tests have ended; record this checkout as the owner."""
    old = owner.read()
    mine = str(layout.CHECKOUT)
    if old is not None and old.checkout != mine:
        gone = "" if Path(old.checkout).is_dir() else ", which is gone"
        say(f"a cluster of {old.checkout}{gone} runs on this machine: stopping it first")
        with owner.no_tests():
            stop_all()
        old = None
    if old is None:  # also after a reboot, of which etcd without fsync may not have survived
        for left in (STATE.data, STATE.logs):
            shutil.rmtree(left, ignore_errors=True)
        owner.write(owner.Owner(checkout=mine, logs=str(STATE.logs)))


def _prepare_registries(found: Mapping[str, Path], mirror: Path) -> list[Registry]:
    """Return the three registries; the mirror's settings are named after its contents, so that new contents restart it."""
    binary = found["docker-registry"]
    return [
        registries.prepare(
            Kind.AUTHENTICATED,
            STATE.registries / "registry",
            layout.REGISTRY,
            binary=binary,
            storage=layout.DATA / "registry",
            user=layout.REGISTRY_USER,
            password=layout.REGISTRY_PASSWORD,
        ),
        registries.prepare(
            Kind.INSECURE, STATE.registries / "insecure", layout.INSECURE_REGISTRY, binary=binary, storage=layout.DATA / "insecure-registry"
        ),
        registries.prepare(Kind.MIRROR, STATE.registries / mirror.name, layout.MIRROR, binary=binary, storage=mirror),
    ]


def _no_process_died(condition: Callable[[], str]) -> Callable[[], str]:
    """Add to a condition that all processes run: waiting for one that has ended is pointless."""

    def checked() -> str:
        for record in processes.records():
            if not record.alive():
                log = STATE.logs / f"{record.name}.log"
                last = log.read_text(errors="replace").splitlines()[-1:]
                raise Trouble(f"{record.name} has ended: {' '.join(last)} (see {log})")
        return condition()

    return checked


def _wait(condition: Callable[[], str], timeout_s: float) -> None:
    wait(_no_process_died(condition), timeout_s, f"the logs are in {STATE.logs}")


def _node_condition(api: Api) -> Callable[[], str]:
    def condition() -> str:
        for node in layout.NODES:
            found = api.get(f"/api/v1/nodes/{node.name}")
            if found is None:
                return f"node {node.name} has not registered"
            ready = [item for item in found["status"].get("conditions", []) if item["type"] == "Ready"]
            if not ready or ready[0]["status"] != "True":
                return f"node {node.name} is not Ready: {ready[0].get('message', '') if ready else 'no condition yet'}"
            arch = found["metadata"]["labels"].get("kubernetes.io/arch")
            if arch != node.arch or found["status"]["nodeInfo"]["architecture"] != node.arch:
                return f"node {node.name} says that it is {arch}, not {node.arch}"
            if any(taint["key"].startswith("node.kubernetes.io/") for taint in found["spec"].get("taints", [])):
                return f"node {node.name} is still tainted"
        return ""

    return condition


def _import_pause(found: Mapping[str, Path], archives: Mapping[str, Path]) -> None:
    for node in layout.NODES:
        _wait(lambda node=node: nodes.import_pause(node, found["ctr"], archives[node.arch]), 30)  # type: ignore[misc]


def _run_trial_pods(api: Api) -> None:
    """Run one pod on each node to its end; this also leaves the builders' image there."""
    trials = [objects.trial_pod(node.arch) for node in layout.NODES]
    for path, _ in trials:
        api.delete(path)
    for path, pod in trials:
        _wait(lambda path=path: "the trial pod of before is still there" if api.get(path) else "", 30)  # type: ignore[misc]

        def created(path: str = path, pod: dict[str, Any] = pod) -> str:
            try:
                api.apply(path, pod)
            except Unreachable as exc:  # the namespace's service account comes a moment later
                return str(exc)
            return ""

        _wait(created, 30)
    for path, pod in trials:

        def ended(path: str = path, name: str = pod["metadata"]["name"]) -> str:
            status = (api.get(path) or {}).get("status", {})
            if status.get("phase") == "Succeeded":
                return ""
            waiting = [state.get("state", {}).get("waiting", {}) for state in status.get("containerStatuses", [])]
            return f"pod {name} is {status.get('phase', 'missing')} {waiting or status.get('conditions', '')}"

        _wait(ended, 120)
        api.delete(path)


def _start(wanted: list[Process]) -> None:
    started = [process.name for process in wanted if processes.start(process, STATE.logs)]
    if started:
        say(f"started {', '.join(started)}")


def _apply_objects(api: Api, registry_ca: str) -> None:
    for path, value in (*objects.simulated_architecture(), *objects.dns_rights(), *objects.builder_defaults(registry_ca)):

        def applied(path: str = path, value: dict[str, Any] = value) -> str:
            api.apply(path, value)  # Unreachable is a reason to wait: a namespace or a right may not be there yet
            return ""

        _wait(applied, 30)


def _prepare_host(found: Mapping[str, Path]) -> None:
    journal = Journal()
    host.make_directories(journal)
    host.make_bridge(journal)
    host.mount_data(journal, STATE)
    cgroups.make(journal)
    host.register_emulators(journal, {arch: found[tool] for arch, tool in _QEMU.items()})
    link = layout.RUN / "nft"  # `down` needs it, and may be run by another checkout
    link.unlink(missing_ok=True)
    link.symlink_to(found["nft"])


def up() -> None:
    """Bring the cluster up; raises Trouble. Interrupted at any point, the next call goes on from there."""
    preflight()
    found = tools.ensure(sorted(_ALL_TOOLS))
    made = images.ensure({name: found[name] for name in _ALL_TOOLS}, say)
    with owner.command_lock():
        take_over()
        _bring_up(found, made)
    say(f"the cluster runs: . {os.path.relpath(STATE.env)} && kubectl get nodes")


def _bring_up(found: Mapping[str, Path], made: images.Images) -> None:
    record = owner.read()
    assert record is not None
    _prepare_host(found)
    keys = STATE.pki
    pki.make(keys)
    servers = _prepare_registries(found, made.mirror)
    authenticated = servers[0]
    assert authenticated.ca is not None
    control = [controlplane.etcd(found), controlplane.apiserver(found, keys)]
    others = [make(found, keys) for make in (controlplane.controller_manager, controlplane.scheduler, controlplane.proxy, controlplane.dns)]
    names = ("registry", "insecure-registry", "mirror")
    others += [Process(name=name, argv=tuple(server.command)) for name, server in zip(names, servers, strict=True)]
    others += [nodes.containerd(node, found, authenticated.ca) for node in layout.NODES]
    kubelets = [nodes.kubelet(node, found, keys) for node in layout.NODES]
    environment.write(STATE, found, _FOR_USERS, keys, authenticated)

    wanted = [*control, *others, *kubelets]
    if not record.complete or not all(map(processes.up_to_date, wanted)):
        record = owner.Owner(checkout=record.checkout, logs=record.logs)
        owner.write(record)
    processes.forget_dead()
    api = Api(keys)
    _start(control)
    _wait(lambda: "" if api.ready() else "the API server is not ready", 60)
    if not record.complete:
        _apply_objects(api, authenticated.ca.read_text())
    _start(others)
    if not record.complete:
        _import_pause(found, made.archives)
    _start(kubelets)
    for server in servers:
        _wait(lambda server=server: "" if server.answers() else f"the registry {server.address} does not answer", 30)  # type: ignore[misc]
    _wait(_node_condition(api), 90)
    if not record.complete:
        with step("running a pod on each node"):
            _run_trial_pods(api)
        owner.write(owner.Owner(checkout=record.checkout, logs=record.logs, complete=True))
