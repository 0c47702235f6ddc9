"""Where faults happen: a namespace with a builder, reached through a link that can break, and a registry that can refuse."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import layout
from tests.e2e.environment import ClusterEnv
from tests.e2e.kubectl import MANAGED, Kubectl, Namespace, Result
from tests.e2e.registry import Registry
from tests.faults.link import Link, open_link
from tests.faults.registry import FaultyRegistry, open_registry

PROMISED = 15.0
"""Seconds in which the product survives a fault or tells it."""
BUILDER = "buildkit"
POD = f"{BUILDER}-amd64-0"
AMD64 = "--platform=linux/amd64"


def until(what: str, condition: Callable[[], object], seconds: float) -> None:
    """Wait for `condition`, which is asked again and again."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:.0f} s"
        select.select([], [], [], 0.1)


@dataclass
class Client:
    """A command of ours under way, whose stderr can be read meanwhile."""

    process: subprocess.Popen[bytes]
    log: Path
    temporary: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def stderr(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def reaches(self, what: str, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait for `condition`, which no client that has ended can bring about."""

        def come() -> bool:
            ended = self.ended
            if condition():
                return True
            assert not ended, f"the client ended before {what}:\n{self.stderr}"
            return False

        try:
            until(what, come, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.stderr}" if not self.ended else str(error)) from None

    def says(self, words: str, seconds: float) -> None:
        """Wait until stderr has `words`."""
        self.reaches(f'"{words}"', lambda: words.lower() in self.stderr.lower(), seconds)

    def ends(self, seconds: float) -> int:
        """Wait for the end and return the exit code; a client that does not end is killed, and that is a failure."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"the client did not end in {seconds:.0f} s\n{self.stderr}") from None
        assert "Traceback" not in self.stderr, self.stderr
        return code

    def left(self) -> list[str]:
        """Processes and temporary files that outlive it."""
        files = [f"temporary file {path.name}" for path in self.temporary.iterdir()]
        return files + [f"process {pid}" for pid in _session(self.process.pid)]


def _session(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The place of all rows. `namespace` is reached straight; clients under test go through `link`."""

    namespace: Namespace
    link: Link
    registry: FaultyRegistry
    stored: Registry
    """What the registry keeps, read past its faults."""
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list, repr=False)
    """All that were started and are not known to have ended."""

    def end_clients(self) -> None:
        """End what a row that went wrong has left running, so that the next one does not meet it."""
        for client in self.clients:
            if not client.ended:
                client.process.kill()
                client.process.wait(10)
        self.clients.clear()

    def tree(self, dockerfile: str, files: Mapping[str, bytes] | None = None) -> Path:
        """A new build context."""
        root = self.directory / f"tree-{self.namespace.names()}"
        root.mkdir()
        for path, content in {"Dockerfile": dockerfile.encode(), **(files or {})}.items():
            (root / path).write_bytes(content)
        return root

    def step(self, seconds: float, files: Mapping[str, bytes] | None = None) -> Path:
        """A context whose build has a step that says `begun`, takes so long, and is never cached."""
        run = f"RUN : {self.namespace.names()} && echo begun && sleep {seconds} && head -c 300000 /dev/urandom > /done"
        copied = "COPY . /context/\n" if files else ""
        return self.tree(f"FROM busybox AS work\n{copied}{run}\nFROM scratch\nCOPY --from=work /done /\n", files)

    def name(self, subject: str = "app") -> str:
        """An image name in the registry that can refuse."""
        return f"{self.registry.address}/{self.namespace.repository(subject)}:v1"

    def start(self, *arguments: str | Path, program: str = "kubectl-build", prefix: tuple[str, ...] = ()) -> Client:
        """Start a command of ours with a temporary directory of its own."""
        name = self.namespace.names()
        temporary = self.directory / f"tmp-{name}"
        temporary.mkdir()
        log = self.directory / f"log-{name}"
        kubeconfig = str(self.directory / "through-link")
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [*prefix, program, *map(str, arguments)],
                env={**self.namespace.kubectl.variables, "KUBECONFIG": kubeconfig, "TMPDIR": str(temporary), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        client = Client(process, log, temporary)
        self.clients.append(client)
        return client

    def build(self, tree: Path, *flags: str, builder: str = BUILDER, prefix: tuple[str, ...] = ()) -> Client:
        """Start a build for amd64 on a builder, `buildkit` unless told."""
        return self.start(tree, "--progress=plain", AMD64, f"--builder={builder}", *flags, prefix=prefix)

    def with_environment(self, **variables: str) -> Bench:
        """The same place for clients with more environment."""
        return replace(self, environment={**self.environment, **variables})

    @property
    def kubectl(self) -> Kubectl:
        return self.namespace.kubectl

    def pod(self, name: str = POD) -> dict[str, Any]:
        found: dict[str, Any] = self.kubectl("get", "pod", name, "-o", "json").json()
        return found

    def ready(self, name: str = POD) -> None:
        """Wait for a pod, which may have been away, or be on its way out and still ready."""

        def is_ready() -> bool:
            seen = self.kubectl("get", "pod", name, "-o", "json")
            found: dict[str, Any] = json.loads(seen.stdout) if seen.code == 0 else {"metadata": {"deletionTimestamp": "gone"}}
            conditions = found["status"].get("conditions", ()) if "deletionTimestamp" not in found["metadata"] else ()
            return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

        until(f"pod {name} ready", is_ready, 90)

    def leases(self) -> list[str]:
        found = self.kubectl("get", "leases", "-l", MANAGED, "-o", "jsonpath={.items[*].metadata.name}").ok().stdout
        return found.split()

    def active(self, pod: str = POD) -> list[str]:
        """The builds that the daemon runs."""
        return [str(record["Ref"]) for record in self.namespace.history(pod) if not record.get("CompletedAt")]

    def daemon(self, pod: str = POD) -> int:
        """The process of a pod's buildkitd."""
        return self.process("buildkitd", pod=pod)

    def process(self, program: str, *arguments: str, pod: str = POD) -> int:
        """A process of a pod, as `processes` finds it."""
        found = self.processes(program, *arguments, pod=pod)
        assert found, f"no {program} of pod {pod} runs"
        return found[0]

    def processes(self, program: str, *arguments: str, pod: str = POD) -> list[int]:
        """Processes of a pod, on this machine, which is the cluster's node too."""
        uid = self.pod(pod)["metadata"]["uid"].replace("-", "_")
        wanted = {argument.encode() for argument in arguments}
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command, group = (entry / "cmdline").read_bytes().split(b"\0"), (entry / "cgroup").read_text()
            except OSError:
                continue
            if command[0].endswith(program.encode()) and uid in group.replace("-", "_") and wanted <= set(command):
                found.append(int(entry.name))
        return found

    def create(self, name: str, *flags: str) -> Result:
        """Make another builder."""
        return self.kubectl("buildkit", "create", name, AMD64, *flags, timeout=200)

    def remove(self, *names: str) -> None:
        self.kubectl("buildkit", "rm", "--ignore-not-found", "--force", *names, timeout=60).ok()

    @contextmanager
    def builder(self, name: str, *flags: str) -> Iterator[str]:
        """A builder for one row."""
        try:
            self.create(name, *flags).ok()
            yield name
        finally:
            self.remove(name)


@contextmanager
def open_bench(cluster: ClusterEnv, directory: Path) -> Iterator[Bench]:
    """A namespace with a running builder; it is deleted in the end."""
    admin = Kubectl(variables=cluster.variables)
    name = f"faults-{uuid.uuid4().hex[:6]}"
    (directory / "docker").mkdir()
    kubeconfig = directory / "kubeconfig"
    shutil.copy(cluster.kubeconfig, kubeconfig)
    # All rows test one state of the program: they take half an hour, in which somebody may edit it.
    shutil.copytree(layout.CHECKOUT / "kubectl_build", directory / "program" / "kubectl_build")
    own = {"KUBECONFIG": str(kubeconfig), "DOCKER_CONFIG": str(directory / "docker"), "PYTHONPATH": str(directory / "program")}
    kubectl = admin.with_env(**own)
    count = iter(range(1_000_000))
    namespace = Namespace(name=name, kubectl=kubectl, cluster=cluster, names=lambda: f"{name[-6:]}-{next(count)}")
    with (
        open_link(layout.HOST_IP, (layout.HOST_IP, layout.API_PORT)) as link,
        open_registry(layout.HOST_IP, cluster.insecure_registry) as registry,
    ):
        kubectl("create", "namespace", name).ok()
        try:
            kubectl("config", "set-context", "--current", f"--namespace={name}").ok()
            config = kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json").json()
            config["clusters"][0]["cluster"]["server"] = f"https://{link.address}"
            (directory / "through-link").write_text(json.dumps(config))
            _trust(namespace, registry.address)
            stored = Registry(url=f"http://{cluster.insecure_registry}")
            bench = Bench(namespace=namespace, link=link, registry=registry, stored=stored, directory=directory)
            bench.create(BUILDER, "--bootstrap").ok()
            yield bench
        finally:
            admin("delete", "namespace", "--wait=false", name).ok()


def _trust(namespace: Namespace, registry: str) -> None:
    """Give the namespace the cluster's defaults, and the registry that refuses as one of plain http."""
    defaults = namespace.kubectl("get", "configmap", "kubectl-build-defaults", "-n", "kube-public", "-o", "json").json()
    said = yaml.safe_load(defaults["data"]["builder.yaml"])
    said["registries"][registry] = {"http": True}
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kubectl-build-defaults"}}
    namespace.kubectl.apply({**own, "data": {"builder.yaml": json.dumps(said)}})


def run_ok(bench: Bench) -> None:
    """Assert that the builder builds."""
    client = bench.build(bench.tree(f"FROM scratch\nCOPY Dockerfile /{bench.namespace.names()}\n"))
    assert client.ends(90) == 0, f"the builder does not build afterwards:\n{client.stderr}"
