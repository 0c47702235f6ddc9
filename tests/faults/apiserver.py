"""Faults of the API server and of its store; all but a restart of the store on an API server of the test's own beside the cluster's.

That is the same program with the same certificates on the same store, as a second API server of a cluster is; clients under test talk to it
alone, and nobody else does. Between it and the store is a link that can break.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.cluster import controlplane, layout, processes, tools
from tests.faults.bench import PROMISED, Bench, until
from tests.faults.fault import AGAIN, SILENT, Fault, Seen, Strikes, outcome, told
from tests.faults.link import Link, open_link

_PORT = 6543


@dataclass
class Server:
    """A kube-apiserver that may be killed and started again."""

    directory: Path
    store: Link
    kubeconfig: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        found = controlplane.apiserver(tools.ensure(["kube-apiserver"]), layout.STATE.pki).argv
        changed = {
            "--etcd-servers": f"http://{self.store.address}",
            "--secure-port": str(_PORT),
            "--cert-dir": str(self.directory),
            # The cluster's own stays the one that pods are told of.
            "--endpoint-reconciler-type": "none",
        }
        kept = [argument for argument in found if argument.partition("=")[0] not in changed]
        argv = [*kept, *(f"{name}={value}" for name, value in changed.items())]
        with (self.directory / "apiserver.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory)
        until("an API server that is ready", self.ready, 60)

    def ready(self) -> bool:
        """Whether it says that it is."""
        asked = subprocess.run(
            ["kubectl", "get", "--raw=/readyz", "--request-timeout=3s"],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            timeout=20,
            check=False,
        )
        return asked.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)


@contextmanager
def _server(bench: Bench) -> Iterator[tuple[Server, Bench]]:
    """Run an API server, and give the bench whose clients use it."""
    directory = bench.directory / "apiserver"
    directory.mkdir(exist_ok=True)
    kubeconfig = directory / "kubeconfig"
    config = json.loads((bench.directory / "through-link").read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://{layout.HOST_IP}:{_PORT}"
    kubeconfig.write_text(json.dumps(config))
    with open_link("127.0.0.1", ("127.0.0.1", layout.ETCD_PORT)) as store:
        server = Server(directory, store, kubeconfig)
        try:
            server.start()
            yield server, replace(bench, environment={"KUBECONFIG": str(kubeconfig)})
        finally:
            server.kill()


@contextmanager
def _restarted(server: Server) -> Iterator[None]:
    server.kill()
    server.start()
    yield


@contextmanager
def _frozen(server: Server) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@contextmanager
def _storeless(server: Server) -> Iterator[None]:
    with server.store.away():
        since = time.monotonic()
        until("three seconds", lambda: time.monotonic() - since > 3, 10)
    yield


def _etcd_restarted(bench: Bench) -> Seen:
    """The cluster's own store ends while a step runs, and is started again three seconds later."""
    etcd = controlplane.etcd(tools.ensure(["etcd"]))
    client = bench.build(bench.step(8))
    client.says(" begun", 60)
    began = time.monotonic()
    record = processes.record_of(etcd.name)
    assert record is not None, "etcd does not run"
    try:
        processes.stop(record)
        until("three seconds", lambda: time.monotonic() - began > 3, 10)
    finally:
        processes.start(etcd, layout.STATE.logs)
    code = client.ends(150)
    assert code == 0, f"exit code {code}\n{client.stderr}"
    return Seen(outcome=outcome(code), seconds=time.monotonic() - began, told="")


_Break = Callable[[Server], AbstractContextManager[None]]


def _scenario(breaks: _Break, words: tuple[str, ...], sleep: float, within: float) -> Callable[[Bench], Seen]:
    def scenario(bench: Bench) -> Seen:
        with _server(bench) as (server, through):
            client = through.build(through.step(sleep))
            client.says(" begun", 60)
            began = time.monotonic()
            with breaks(server):
                for word in words:
                    client.says(word, within + 30)
            seconds = time.monotonic() - began
            code = client.ends(150)
            assert code == 0, f"exit code {code}\n{client.stderr}"
            assert not words or seconds <= within, f'"{words[-1]}" was told after {seconds:.1f} s\n{client.stderr}'
        return Seen(outcome=outcome(code), seconds=seconds, told=told(client.stderr, words) if words else "")

    return scenario


def _row(
    name: str, breaks: _Break, words: tuple[str, ...], *, sleep: float = 4, within: float = PROMISED, class_sample: bool = False
) -> Fault:
    scenario = _scenario(breaks, words, sleep, within)
    # The Lease is written through the server that is away.
    return Fault(name=name, group="apiserver", strikes=Strikes.STEP, scenario=scenario, leaves=True, class_sample=class_sample)


FAULTS = (
    # Its start takes some seconds, which count here.
    _row("API server restarted", _restarted, (AGAIN,), sleep=3, within=45, class_sample=True),
    _row("API server frozen", _frozen, (SILENT, AGAIN), sleep=8),
    _row("API server without its store for 3 s", _storeless, (), sleep=8),
    Fault(name="etcd restarted", group="apiserver", strikes=Strikes.STEP, scenario=_etcd_restarted, alone=True),
)
