"""Running the real kubectl, which finds the real plugin on PATH; and a namespace that a module's tests share."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.e2e.environment import ClusterEnv

MANAGED = "app.kubernetes.io/managed-by=kubectl-build"
_KINDS = "configmaps,secrets,statefulsets,pods,leases,services,networkpolicies,persistentvolumeclaims,roles,rolebindings,serviceaccounts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A command that ended."""

    command: str
    code: int
    stdout: str
    stderr: str
    seconds: float

    def __str__(self) -> str:
        return f"$ {self.command}\nexit code {self.code} after {self.seconds:.1f} s\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    def ok(self) -> Self:
        """Assert that it succeeded, showing all it said."""
        assert self.code == 0, str(self)
        return self

    def failed(self, code: int, *words: str) -> Self:
        """Assert the exit code, that stderr says `words` (in any case), and that no traceback was shown."""
        assert self.code == code, str(self)
        assert "Traceback" not in self.stderr, str(self)
        missing = [word for word in words if word.lower() not in self.stderr.lower()]
        assert not missing, f"stderr does not say {missing}\n{self}"
        return self

    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.ok().stdout)


@dataclass(slots=True)
class Running:
    """A command that has been started."""

    command: str
    process: subprocess.Popen[str]
    since: float

    def wait(self, timeout: float) -> Result:
        """Wait for its end. When it does not come in `timeout` seconds it is killed, and that is a failure."""
        try:
            stdout, stderr = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            stdout, stderr = self.process.communicate()
            raise AssertionError(f"$ {self.command}\ndid not end in {timeout:.0f} s\n--- stdout\n{stdout}\n--- stderr\n{stderr}") from None
        seconds = time.monotonic() - self.since
        return Result(command=self.command, code=self.process.returncode, stdout=stdout, stderr=stderr, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """kubectl with an environment of its own: the kubeconfig names the namespace, the docker config is empty."""

    variables: dict[str, str]
    prefix: tuple[str, ...] = ()

    def start(self, *args: str | Path, cwd: Path | None = None) -> Running:
        """Start kubectl in the background."""
        command = [*self.prefix, "kubectl", *map(str, args)]
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        return Running(" ".join(command), process, time.monotonic())

    def __call__(self, *args: str | Path, cwd: Path | None = None, stdin: str | None = None, timeout: float = 120) -> Result:
        """Run kubectl to its end, at most `timeout` seconds; the exit code is for the caller to look at."""
        command = [*self.prefix, "kubectl", *map(str, args)]
        since = time.monotonic()
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        given.update(cwd=cwd, env=self.variables, timeout=timeout)
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, **given)
        except subprocess.TimeoutExpired as exc:
            said = [(part or b"").decode(errors="replace") for part in (exc.stdout, exc.stderr)]
            raise AssertionError(f"$ {' '.join(command)}\ndid not end in {timeout:.0f} s\n{said[0]}\n--- stderr\n{said[1]}") from None
        return Result(
            command=" ".join(command), code=done.returncode, stdout=done.stdout, stderr=done.stderr, seconds=time.monotonic() - since
        )

    def plugin(self, name: str, *args: str | Path, timeout: float = 120) -> Result:
        """Run a plugin without kubectl, which would stumble over a broken kubeconfig first."""
        return self.shell(shlex.join([f"kubectl-{name}", *map(str, args)]), timeout=timeout)

    def shell(self, script: str, *, timeout: float = 120) -> Result:
        """Run a shell script in kubectl's environment, for pipes and redirections."""
        since = time.monotonic()
        done = subprocess.run(["sh", "-c", script], env=self.variables, capture_output=True, text=True, timeout=timeout, check=False)
        return Result(command=script, code=done.returncode, stdout=done.stdout, stderr=done.stderr, seconds=time.monotonic() - since)

    def with_prefix(self, *prefix: str) -> Kubectl:
        """The same kubectl, started by another program."""
        return Kubectl(variables=self.variables, prefix=prefix)

    def with_env(self, **variables: str) -> Kubectl:
        """The same kubectl with more environment."""
        return Kubectl(variables={**self.variables, **variables}, prefix=self.prefix)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects."""
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})).ok()


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A fresh namespace, the current one of its kubectl."""

    name: str
    kubectl: Kubectl
    cluster: ClusterEnv
    names: Callable[[], str] = field(repr=False)

    def repository(self, name: str = "app") -> str:
        """A repository path that no other test uses."""
        return f"e2e/{name}-{self.names()}"

    def secret(self, name: str, *, server: str | None = None, password: str | None = None) -> str:
        """Make a registry secret as the documentation of kubectl says, and return its name."""
        cluster = self.cluster
        login = f"--docker-username={cluster.user}", f"--docker-password={password or cluster.password}"
        self.kubectl("create", "secret", "docker-registry", name, f"--docker-server={server or cluster.registry}", *login).ok()
        return name

    def objects(self) -> set[str]:
        """Every object that a builder has here, as kind/name."""
        found = self.kubectl("get", _KINDS, "-l", MANAGED, "-o", "json").json()
        # A pod or set that is on its way out has been removed: what is looked for is what stays.
        return {f"{o['kind']}/{o['metadata']['name']}" for o in found["items"] if not o["metadata"].get("deletionTimestamp")}

    def stateful_sets(self) -> set[str]:
        """The names of all StatefulSets here."""
        return {item["metadata"]["name"] for item in self.kubectl("get", "statefulsets", "-o", "json").json()["items"]}

    def history(self, pod: str) -> list[dict[str, Any]]:
        """What the daemon in a builder's pod has built, asked of BuildKit's own client."""
        said = self.kubectl("exec", pod, "-c", "buildkitd", "--", "buildctl", "debug", "histories", "--format", "{{json .}}").ok().stdout
        return [record for line in said.splitlines() if line.strip() and (record := json.loads(line).get("record"))]

    def pod_runs(self, pod: str, *, timeout: float = 60) -> str:
        """Wait until a pod has succeeded, and return what it printed."""
        waited = self.kubectl(
            "wait", f"pod/{pod}", "--for=jsonpath={.status.phase}=Succeeded", f"--timeout={timeout:.0f}s", timeout=timeout + 10
        )
        if waited.code:
            described = self.kubectl("describe", f"pod/{pod}").stdout
            raise AssertionError(f"pod {pod} did not succeed\n{waited}\n{described}")
        return self.kubectl("logs", pod).ok().stdout


@dataclass(slots=True)
class BuildLog:
    """What --progress=rawjson told of a build: BuildKit's own status records, the last word of each step."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses: dict[tuple[str, str], int] = field(default_factory=dict)
    output: str = ""

    @classmethod
    def of(cls, result: Result) -> Self:
        """Read the lines of stderr that are JSON."""
        log = cls()
        for line in result.stderr.splitlines():
            if not line.startswith("{"):
                continue
            record = json.loads(line)
            for vertex in record.get("vertexes", ()):
                log.steps.setdefault(vertex["digest"], {}).update(vertex)
            for status in record.get("statuses", ()):
                log.statuses[status["vertex"], status["id"]] = status.get("current", 0)
            log.output += "".join(base64.b64decode(part["data"]).decode(errors="replace") for part in record.get("logs", ()))
        assert log.steps, f"no progress was told\n{result}"
        return log

    @property
    def names(self) -> list[str]:
        """The steps' names in the order they were first told."""
        return [str(step.get("name", "")) for step in self.steps.values()]

    def context_bytes(self) -> int:
        """Bytes of the build contexts that were sent, over all pools; -1 when no context was even asked for."""
        asked = {digest for digest, step in self.steps.items() if "load build context" in step.get("name", "")}
        sent = [count for (vertex, name), count in self.statuses.items() if vertex in asked and name.startswith("transferring")]
        return sum(sent) if asked else -1

    def uncached(self) -> list[str]:
        """Steps of the Dockerfile that copied or ran something anew."""
        steps = [s for s in self.steps.values() if re.search(r"\b(RUN|COPY|ADD|WORKDIR) ", s.get("name", ""))]
        return [str(s["name"]) for s in steps if not s.get("cached")]


def plan_lines(stderr: str) -> dict[str, tuple[str, str]]:
    """The plan as printed for people: platform to mode and pool."""
    rows = re.findall(r"^(?:#\d+ )?\s*([a-z]+/[a-z0-9/]+)\s+(native|cross|QEMU)\s+(\S+)\s", stderr, re.MULTILINE)
    return {platform: (mode, pool) for platform, mode, pool in rows}


def pod_object(
    name: str, image: str, command: Sequence[str] = (), *, arch: str = "", secrets: Iterable[str] = (), **spec: Any
) -> dict[str, Any]:
    """A pod that runs one command once."""
    container: dict[str, Any] = {"name": "main", "image": image, "imagePullPolicy": "Always"}
    if command:
        container["command"] = list(command)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "imagePullSecrets": [{"name": secret} for secret in secrets],
            **({"nodeSelector": {"kubernetes.io/arch": arch}} if arch else {}),
            **spec,
        },
    }
