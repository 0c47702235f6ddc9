"""A second control plane without kubelets: an API server that has as many Node objects as asked, and a copy of a builder that is real."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.rig import ARCHES, Rig, free_port
from tests.cluster import controlplane, layout, tools
from tests.cluster.say import Trouble, say

_KEYS = layout.STATE.pki
_READY_S = 60.0
_STOP_S = 15.0
_AT_ONCE = 4
_KINDS = "configmaps,statefulsets,pods"


class _Api:
    """Calls to the second API server, one connection for all."""

    def __init__(self, port: int) -> None:
        tls = ssl.create_default_context(cafile=str(_KEYS / "ca.crt"))
        tls.load_cert_chain(_KEYS / "admin.crt", _KEYS / "admin.key")
        self._connection = http.client.HTTPSConnection(layout.HOST_IP, port, timeout=30, context=tls)

    def call(self, method: str, path: str, body: object = None) -> int:
        """The status of the answer. Raises OSError while nobody listens."""
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, body=data, headers={"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        self.said = answer.read()
        return answer.status

    def made(self, path: str, body: object, method: str = "POST") -> None:
        """Make an object; raises Trouble when it is refused."""
        status = self.call(method, path, body)
        if status not in {200, 201}:
            raise Trouble(f"{method} {path}: status {status}: {self.said[:500].decode(errors='replace')}")


@contextmanager
def _running(argv: Sequence[str], log: Path) -> Iterator[None]:
    with (
        log.open("ab") as output,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _apiserver(programs: dict[str, Path], store: str, port: int, directory: Path) -> list[str]:
    """The local cluster's own API server, but for its store, its port and the admission that controllers would have to follow."""
    own = {"--etcd-servers": store, "--secure-port": str(port), "--cert-dir": str(directory)}
    argv = [
        f"{name}={own[name]}" if (name := word.partition("=")[0]) in own else word for word in controlplane.apiserver(programs, _KEYS).argv
    ]
    return [*argv, "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition"]


def _answers(api_port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            if _Api(api_port).call("GET", "/readyz") == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise Trouble(f"the second API server is not ready; its log ends with:\n{log.read_text()[-1000:]}")
        time.sleep(0.2)


def _stripped(value: dict[str, Any]) -> dict[str, Any]:
    """An object as it may be created elsewhere."""
    kept = {name: item for name, item in value["metadata"].items() if name in {"name", "namespace", "labels", "annotations"}}
    return {**value, "metadata": kept}


def _node(number: int) -> dict[str, Any]:
    """A Node as a kubelet reports it, with the fifty images that make real ones large."""
    arch, name = ARCHES[number % len(ARCHES)], f"made-{number:05}"
    amounts = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "200Gi"}
    images = [
        {"names": [f"registry.example/team-{n}/service@sha256:{n:064x}", f"registry.example/team-{n}/service:v{n}"], "sizeBytes": 10**8 + n}
        for n in range(50)
    ]
    at = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": status, "reason": "Kubelet", "message": "as it must be", "lastHeartbeatTime": at, "lastTransitionTime": at}
        for kind, status in (("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False"), ("Ready", "True"))
    ]
    info = {"architecture": arch, "operatingSystem": "linux", "kernelVersion": "6.1", "kubeletVersion": layout.KUBERNETES_VERSION}
    rest = ("bootID", "containerRuntimeVersion", "kubeProxyVersion", "machineID", "osImage", "systemUUID")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": arch, "kubernetes.io/os": "linux", "kubernetes.io/hostname": name}},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": conditions,
            "images": images,
            "nodeInfo": {**info, **dict.fromkeys(rest, "made")},
        },
    }


def _make_nodes(port: int, numbers: Sequence[int]) -> None:
    def make(part: Sequence[int]) -> None:
        api = _Api(port)
        for number in part:
            api.made("/api/v1/nodes", _node(number))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(make, [numbers[first::_AT_ONCE] for first in range(_AT_ONCE)]))


def _copy(rig: Rig, builder: str, api: _Api) -> None:
    """The real nodes, the namespace and the builder's objects, with what their status is."""
    for node in json.loads(rig.kubectl("get", "nodes", "-o", "json"))["items"]:
        api.made("/api/v1/nodes", _stripped(node))
    api.made("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": rig.namespace}})
    selector = f"app.kubernetes.io/instance={builder}"
    for value in json.loads(rig.kubectl("get", _KINDS, "-l", selector, "-o", "json"))["items"]:
        group = "/api/v1" if value["apiVersion"] == "v1" else f"/apis/{value['apiVersion']}"
        kind = f"{group}/namespaces/{rig.namespace}/{value['kind'].lower()}s"
        api.made(kind, _stripped(value))
        if "status" in value:
            api.made(f"{kind}/{value['metadata']['name']}/status", _stripped(value), "PUT")


@contextmanager
def second_cluster(rig: Rig, builder: str, nodes: int) -> Iterator[Path]:
    """Run it until the block ends; yields its kubeconfig. Nothing watches its objects, so nothing changes them."""
    programs = tools.ensure(controlplane.TOOLS)
    directory = rig.directory / f"nodes-{nodes}"
    directory.mkdir()
    port, store, peer = free_port(), f"http://{layout.HOST_IP}:{free_port()}", f"http://{layout.HOST_IP}:{free_port()}"
    etcd = [
        str(programs["etcd"]),
        "--name=default",
        f"--data-dir={directory}/etcd",
        "--unsafe-no-fsync",
        "--logger=zap",
        "--log-level=warn",
    ]
    etcd += [f"--listen-client-urls={store}", f"--advertise-client-urls={store}", f"--listen-peer-urls={peer}"]
    etcd += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.enter_context(_running(etcd, directory / "etcd.log"))
        stack.enter_context(_running(_apiserver(programs, store, port, directory), directory / "apiserver.log"))
        _answers(port, directory / "apiserver.log")
        say(f"a second API server gets {nodes} nodes")
        _copy(rig, builder, _Api(port))
        _make_nodes(port, range(nodes - 2))
        config = json.loads((rig.directory / "straight").read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://{layout.HOST_IP}:{port}"
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        yield kubeconfig
