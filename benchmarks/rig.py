"""Where both tools build: a namespace, a registry and directories of their own, and for each tool the same builders."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import timed
from benchmarks.shaped import slow_path
from benchmarks.side import Side
from benchmarks.timed import Timed
from tests.cluster import layout, tools
from tests.cluster.registries import Kind, Registry, run_registry
from tests.cluster.say import Trouble, say
from tests.e2e.environment import ClusterEnv

ARCHES = ("amd64", "arm64")
REQUESTS = {"cpu": "100m", "memory": "256Mi"}
SECURITY = "privileged"
_OURS = str(Path(sys.executable).with_name("kubectl-build"))
_START_SECONDS = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A builder that both tools make alike: pods by architecture, and how many of each."""

    name: str
    arches: tuple[str, ...] = ("amd64",)
    replicas: int = 1


ONE = Shape(name="one")
TWO = Shape(name="two", arches=ARCHES)
PAIR = Shape(name="pair", replicas=2)


@dataclass(frozen=True, kw_only=True)
class Rig:
    """What is there while rows run. Everything below `directory` goes at the end, and so does the namespace."""

    cluster: ClusterEnv
    namespace: str
    directory: Path
    buildx: str
    registry: Registry
    variables: Mapping[str, str] = field(repr=False)
    _made: set[Shape] = field(default_factory=set)

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints, straight to the API server. Raises Trouble when it fails."""
        return checked(["kubectl", *arguments], {**self.variables, "KUBECONFIG": str(self.directory / "straight")}, stdin)

    def fresh(self, name: str, side: Side, number: int) -> Path:
        """A path below `directory` that nothing has had before; only its last part says for whom it is."""
        return self.directory / f"{name}-{side.value}-{number}"

    def image(self, name: str, side: Side, number: int) -> str:
        """A name in the registry that nothing has had before."""
        return f"{self.registry.address}/{name}-{side.value}-{number}:latest"

    def create(self, side: Side, shape: Shape) -> list[list[str]]:
        """The commands that make a builder and wait until it is ready; the last one waits."""
        config = f"--buildkitd-config={self.directory / 'buildkitd.toml'}"
        amounts = ",".join(f"{name}={amount}" for name, amount in REQUESTS.items())
        if side is Side.OURS:
            platforms = ",".join(f"linux/{arch}" for arch in shape.arches)
            ours = ["kubectl", "buildkit", "create", shape.name, f"--platform={platforms}", f"--replicas={shape.replicas}"]
            return [[*ours, f"--image={layout.BUILDKIT_IMAGE}", config, f"--security={SECURITY}", f"--requests={amounts}", "--bootstrap"]]
        options = [f"namespace={self.namespace}", f"image={layout.BUILDKIT_IMAGE}", f"replicas={shape.replicas}"]
        options += [f"requests.{name}={amount}" for name, amount in REQUESTS.items()]
        commands = []
        for number, arch in enumerate(shape.arches):
            theirs = [self.buildx, "create", f"--name={shape.name}", f"--node={shape.name}-{arch}-x", "--driver=kubernetes"]
            theirs += [f"--platform=linux/{arch}", config, f"--driver-opt=nodeselector=kubernetes.io/arch={arch}"]
            theirs += [f"--driver-opt={option}" for option in options]
            commands.append([*theirs, *(["--append"] if number else [])])
        commands[-1].append("--bootstrap")
        return commands

    def builder(self, shape: Shape) -> str:
        """Have both tools make this builder, once; returns its name."""
        if shape not in self._made:
            say(f"both make builder {shape.name}: {' and '.join(shape.arches)}, {shape.replicas} pod each")

            def make(side: Side) -> None:
                for command in self.create(side, shape):
                    checked(command, self.variables)

            with ThreadPoolExecutor() as pool:
                list(pool.map(make, Side))
            self._made.add(shape)
        return shape.name

    def command(self, side: Side, *arguments: str | Path) -> list[str]:
        """A build, started straight on both sides: `docker`, which starts buildx for a user as `kubectl` starts us, is not here."""
        first = [_OURS] if side is Side.OURS else [self.buildx, "build"]
        return [*first, *map(str, arguments)]

    def build(self, side: Side, shape: Shape, *arguments: str | Path) -> Timed:
        """Build on a builder and time it."""
        return timed.run(self.command(side, f"--builder={self.builder(shape)}", *arguments), self.variables)

    def prune(self) -> None:
        """Empty all daemons and the registry, so that no row pays for the data of another."""
        for pod in self.kubectl("get", "pods", "-o", "name").split():
            self.kubectl("exec", pod, "-c", "buildkitd", "--", "buildctl", "prune", "--all")
        shutil.rmtree(self.registry.storage / "docker", ignore_errors=True)
        settle()

    @contextmanager
    def slow(self, *, rate: float, round_trip: float) -> Iterator[None]:
        """Both tools reach the API server by a slow path: the kubeconfig that they read says so."""
        with slow_path(layout.HOST_IP, (layout.HOST_IP, layout.API_PORT), rate=rate, round_trip=round_trip) as address:
            self._server(f"https://{address}")
            try:
                yield
            finally:
                self._server(f"https://{layout.HOST_IP}:{layout.API_PORT}")

    def _server(self, url: str) -> None:
        config: dict[str, Any] = json.loads((self.directory / "straight").read_text())
        config["clusters"][0]["cluster"]["server"] = url
        self.kubeconfig.write_text(json.dumps(config))

    def shown(self, command: Sequence[str]) -> str:
        """A command for people of another machine: no paths, addresses and numbers of runs."""
        text = " ".join(command).replace(self.buildx, "docker buildx").replace(_OURS, "kubectl build").replace(f"{self.directory}/", "./")
        text = text.replace(self.registry.address, "REGISTRY").replace(self.namespace, "NAMESPACE")
        return re.sub(r"-(ours|theirs)-\d+", "", text)


def checked(command: Sequence[str], variables: Mapping[str, str], stdin: str | None = None) -> str:
    """What a command prints that is not timed; raises Trouble when it fails. Ctrl-C does not reach it, since it may be one that cleans."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    given.update(capture_output=True, text=True, check=False, timeout=_START_SECONDS, start_new_session=True)
    done = subprocess.run(command, env=dict(variables), **given)
    if done.returncode:
        raise Trouble(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")
    printed: str = done.stdout
    return printed


def settle() -> None:
    """Let the disk take what was written, so that it does not in the next run.

    Rows remove what they made at their end, and not between runs: for a minute and more ext4 looks one by one at the numbers of files that
    have just gone (`recently_deleted`, fs/ext4/ialloc.c) when others are made. With 40,000 gone a build of 40,000 took 25 s and not 11 s.
    """
    os.sync()


def free_port() -> int:
    """A port of the cluster's own address that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind((layout.HOST_IP, 0))
        port: int = sock.getsockname()[1]
        return port


def _buildkitd_config(registry: Registry) -> str:
    lines = []
    for host in layout.MIRRORED_HOSTS:
        lines += [f'[registry."{host}"]', f'mirrors = ["{layout.MIRROR}/{host}"]']
    lines += [f'[registry."{layout.MIRROR}"]', "http = true", f'[registry."{registry.address}"]', f'ca = ["{registry.ca}"]']
    return "\n".join(lines) + "\n"


@contextmanager
def ready(cluster: ClusterEnv) -> Iterator[Rig]:
    """Make the place, and take all of it away at the end, however that comes."""
    namespace = f"bench-{uuid.uuid4().hex[:6]}"
    program = tools.ensure(["buildx", "docker-registry"])
    with ExitStack() as stack:
        # Nobody waits for its end: a daemon that still writes into a directory below must not keep the rest from going.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kubectl-build-bench-", ignore_cleanup_errors=True)))
        registry = stack.enter_context(
            run_registry(
                Kind.AUTHENTICATED,
                directory / "registry",
                f"{layout.HOST_IP}:{free_port()}",
                binary=program["docker-registry"],
                password="benchmark",
            )
        )
        login = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
        (directory / "docker").mkdir()
        (directory / "docker" / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
        (directory / "buildkitd.toml").write_text(_buildkitd_config(registry))
        variables = {
            **cluster.variables,
            "KUBECONFIG": str(directory / "kubeconfig"),
            "DOCKER_CONFIG": str(directory / "docker"),
            "BUILDX_CONFIG": str(directory / "buildx"),
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
            # buildx joins the images of two nodes from the client, which asks nobody else whom to trust.
            "SSL_CERT_FILE": str(registry.ca),
        }
        admin = cluster.variables
        checked(["kubectl", "create", "namespace", namespace], admin)
        stack.callback(checked, ["kubectl", "delete", "namespace", "--wait=false", namespace], admin)
        config = json.loads(checked(["kubectl", "config", "view", "--raw", "--flatten", "--minify", "-o", "json"], admin))
        config["contexts"][0]["context"]["namespace"] = namespace
        for name in ("straight", "kubeconfig"):
            (directory / name).write_text(json.dumps(config))
        yield Rig(
            cluster=cluster,
            namespace=namespace,
            directory=directory,
            buildx=str(program["buildx"]),
            registry=registry,
            variables=variables,
        )
