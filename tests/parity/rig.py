"""Both tools, ready to build: a namespace, a builder for each with the same daemon and the same settings, and what they fetch from."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import layout, tools
from tests.cluster.say import Trouble
from tests.e2e.environment import ClusterEnv
from tests.parity import servers
from tests.parity.case import Case, Site

BUILDER = "parity"
ARCHES = ("amd64", "arm64")
_BUILD_SECONDS = 170.0
_START_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A build that ended."""

    command: Sequence[str]
    code: int
    stdout: bytes = field(repr=False)
    stderr: str = field(repr=False)
    seconds: float

    @property
    def why(self) -> str:
        """The last lines that it said."""
        said = [line for line in self.stderr.splitlines() if line.strip()]
        return "\n".join(said[-12:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One of the two."""

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False)
    docker: Path

    def run(self, args: Sequence[str], *, cwd: Path, stdin: Path | None = None, env: Mapping[str, str] | None = None) -> Done:
        """Run it to its end; one that does not end in time has code -1."""
        command = [*self.command, *args]
        since = time.monotonic()
        with Path(os.devnull if stdin is None else stdin).open("rb") as given:
            try:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    env={**self.variables, **(env or {})},
                    stdin=given,
                    capture_output=True,
                    check=False,
                    timeout=_BUILD_SECONDS,
                )
            except subprocess.TimeoutExpired as exc:
                said = (exc.stderr or b"").decode(errors="replace")
                return Done(command=command, code=-1, stdout=b"", stderr=f"{said}\ndid not end in time", seconds=_BUILD_SECONDS)
        seconds = time.monotonic() - since
        return Done(command=command, code=done.returncode, stdout=done.stdout, stderr=done.stderr.decode(errors="replace"), seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """What is there while the comparison runs."""

    cluster: ClusterEnv
    run: str
    """A word of this run: no tag of an earlier one is ever looked at."""
    directory: Path
    http: str
    agent: Path
    tools: tuple[Tool, Tool]
    """buildx first."""

    def site(self, case: Case) -> Site:
        """The directories of a case, made and empty."""
        work, www = self.directory / "cases" / case.name, self.directory / "www" / case.name
        for place in (work, www):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        (work / "context").mkdir()
        return Site(work=work, www=www)

    def words(self, case: Case, tool: Tool) -> dict[str, str]:
        """What the placeholders of a case stand for."""
        work = self.directory / "cases" / case.name
        return {
            "work": str(work),
            "out": str(self.out(case, tool)),
            "http": f"{self.http}/{case.name}",
            "registry": self.cluster.registry,
            "tool": tool.name,
            "name": f"{self.cluster.registry}/{self.repository(case, tool)}:{self.run}",
            "docker": str(tool.docker),
            "agent": str(self.agent),
            "digest": digest.read_text() if (digest := work / "digest").exists() else "",
        }

    def out(self, case: Case, tool: Tool) -> Path:
        """Where a tool may write results."""
        return self.directory / "out" / case.name / tool.name

    def repository(self, case: Case, tool: Tool) -> str:
        """Where a tool pushes a case."""
        return f"parity/{tool.name}/{case.name}"


def _buildkitd_config(cluster: ClusterEnv) -> str:
    """What `kubectl-build-defaults` gives every builder of the local cluster, for both, and the entitlements that cases ask for."""
    lines = ['insecure-entitlements = ["network.host", "security.insecure"]']
    for host in layout.MIRRORED_HOSTS:
        lines += [f'[registry."{host}"]', f'mirrors = ["{layout.MIRROR}/{host}"]']
    lines += [f'[registry."{layout.MIRROR}"]', "http = true", f'[registry."{cluster.registry}"]', f'ca = ["{cluster.ca}"]']
    return "\n".join(lines) + "\n"


def _variables(cluster: ClusterEnv, directory: Path, tool: str) -> dict[str, str]:
    docker = directory / "docker" / tool
    docker.mkdir(parents=True, exist_ok=True)
    login = base64.b64encode(f"{cluster.user}:{cluster.password}".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {cluster.registry: {"auth": login}}}))
    return {
        **cluster.variables,
        "KUBECONFIG": str(directory / "kubeconfig"),
        "DOCKER_CONFIG": str(docker),
        "BUILDX_CONFIG": str(directory / "buildx"),
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        "SOURCE_DATE_EPOCH": "0",
    }


def _checked(command: Sequence[str], variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_START_SECONDS
    )
    if done.returncode:
        raise Trouble(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


def _boot(buildx: str, config: Path, namespace: str, variables: Mapping[str, str]) -> None:
    """Start both builders at once: buildx's one pod on the amd64 node, and our two."""
    options = (
        f"image={layout.BUILDKIT_IMAGE}",
        f"namespace={namespace}",
        "nodeselector=kubernetes.io/arch=amd64",
        f"timeout={_START_SECONDS:.0f}s",
    )
    theirs = [
        buildx,
        "create",
        "--name",
        BUILDER,
        "--driver",
        "kubernetes",
        "--node",
        "buildx",
        f"--buildkitd-config={config}",
        "--bootstrap",
    ]
    theirs += [f"--driver-opt={option}" for option in options]
    ours = ["kubectl", "buildkit", "create", BUILDER, f"--image={layout.BUILDKIT_IMAGE}", f"--buildkitd-config={config}", "--bootstrap"]
    # As buildx's pod is: in a user namespace steps make other mount points and no device nodes, so their layers differ.
    ours.append("--security=privileged")
    with ThreadPoolExecutor() as pool:
        for ended in [pool.submit(_checked, command, variables) for command in (theirs, ours)]:
            ended.result()


@contextmanager
def ready(cluster: ClusterEnv, directory: Path, *, namespace: str, keep: bool) -> Iterator[Rig]:
    """Make the namespace and both builders, or take those that are there; the namespace is deleted at the end unless `keep`."""
    directory.mkdir(parents=True, exist_ok=True)
    buildx = str(tools.ensure(["buildx"])["buildx"])
    shutil.copy(cluster.kubeconfig, directory / "kubeconfig")
    (directory / "buildkitd.toml").write_text(_buildkitd_config(cluster))
    (directory / "www").mkdir(exist_ok=True)
    variables = {name: _variables(cluster, directory, name) for name in ("buildx", "kubectl")}
    admin = variables["kubectl"]
    _checked(["sh", "-c", f"kubectl get namespace {namespace} || kubectl create namespace {namespace}"], admin)
    _checked(["kubectl", "config", "set-context", "--current", f"--namespace={namespace}"], admin)

    def tool(name: str, program: str) -> Tool:
        docker = Path(variables[name]["DOCKER_CONFIG"])
        return Tool(name=name, command=(program, "build", f"--builder={BUILDER}"), variables=variables[name], docker=docker)

    with ExitStack() as stack:
        if not keep:
            stack.callback(_checked, ["kubectl", "delete", "namespace", "--wait=false", namespace], admin)
        if not (directory / "booted").exists():
            _boot(buildx, directory / "buildkitd.toml", namespace, admin)
            (directory / "booted").touch()
        yield Rig(
            cluster=cluster,
            run=f"{namespace}-{int(time.time())}",
            directory=directory,
            http=stack.enter_context(servers.serving(directory / "www")),
            agent=stack.enter_context(servers.agent(directory)),
            tools=(tool("buildx", buildx), tool("kubectl", "kubectl")),
        )
