"""A cluster with two nodes and a builder that is well, for tests that make it ill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.builder.manifests import render
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import template_hash
from kubectl_build.cluster.client import CONFIGMAPS, NAMESPACES, NODES, PODS, STATEFULSETS, KubeClient, open_client
from kubectl_build.doctor.examine import examine
from kubectl_build.doctor.finding import Finding, Level
from kubectl_build.doctor.patient import SELF_REVIEWS, Patient
from kubectl_build.model.json import JsonObject
from kubectl_build.model.reference import parse_reference
from tests.fakes.daemon import FakeDaemon, dialing, joined, serve_daemon
from tests.fakes.kube_api import FakeKubeApi, open_fake_kube_api
from tests.fakes.kube_exec import ExecCall

SPEC = BuilderSpec(replicas=1)


def node(name: str, architecture: str, **spec: Any) -> JsonObject:
    """A node that is Ready."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": architecture, "kubernetes.io/os": "linux"}},
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "runtimeHandlers": [{"name": "", "features": {"userNamespaces": True}}],
        },
    }


@dataclass
class Ward:
    """The cluster, its daemons by pod name, and what an exec of the examining script prints."""

    api: FakeKubeApi
    client: KubeClient
    folder: Path
    daemons: dict[str, FakeDaemon] = field(default_factory=dict)
    skew: int = 0
    disk: tuple[int, int] = (100_000_000, 50_000_000)
    """Blocks of 1 KiB: in all, and free."""
    emulators: tuple[str, ...] = ("aarch64",)
    programs: tuple[str, ...] = ("nc",)

    def builder(self, name: str = "buildkit", architecture: str = "amd64", *, ready: bool = True, spec: BuilderSpec = SPEC) -> JsonObject:
        """Put a builder with one pod there; returns the pod, which `daemons` has to have."""
        manifests = render(name, "default", spec, [architecture])
        self.api.add(CONFIGMAPS, manifests.config_map)
        stateful_set = self.api.add(STATEFULSETS, manifests.stateful_sets[architecture])
        template = stateful_set["spec"]["template"]
        assert template_hash(stateful_set)
        conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True" if ready else "False"}]
        return self.api.add(
            PODS,
            {
                "metadata": {**template["metadata"], "name": f"{name}-{architecture}-0"},
                "spec": {**template["spec"], "nodeName": f"node-{architecture}"},
                "status": {"phase": "Running", "conditions": conditions},
            },
        )

    async def handle(self, call: ExecCall) -> int:
        """Run what is run in a pod."""
        pod = call.socket._req.path.split("/")[-2] if call.socket._req is not None else ""
        match call.command:
            case ["buildctl", "dial-stdio"]:
                await dialing(self.daemons[pod].socket)(call)
            case ["sh", "-c", script, *_] if "df -Pk" in script:
                lines = [f"clock {int(time.time()) + self.skew}"]
                lines += [f"program {name}" for name in (*self.programs, *(f"buildkit-qemu-{a}" for a in self.emulators))]
                lines += [f"disk /dev/x {self.disk[0]} {self.disk[0] - self.disk[1]} {self.disk[1]} 50% /var/lib/buildkit"]
                await call.write("\n".join(lines).encode())
            case ["sh", "-c", _, program]:
                return 0 if program in self.programs else 1
            case ["nc", host, port]:
                try:
                    connection = await asyncio.open_connection(host, int(port))
                except OSError:
                    await call.write_error(b"nc: connection refused\n")
                    return 1
                await joined(call, *connection)
            case _:
                raise AssertionError(f"the test knows no command {call.command}")
        return 0

    async def examined(
        self, name: str = "buildkit", *, image: str = "", secrets: tuple[str, ...] = (), environ: dict[str, str] | None = None
    ) -> dict[str, tuple[Finding, ...]]:
        """The findings by check."""
        reference = parse_reference(image) if image else None
        variables = {"HOME": str(self.folder), **(environ or {})}
        async with Patient(self.client, name, image=reference, secrets=secrets, environ=variables) as patient:
            return {item.check: item.findings for item in await examine(patient)}


def problems(found: dict[str, tuple[Finding, ...]]) -> list[str]:
    """What prevents building."""
    return [finding.what for findings in found.values() for finding in findings if finding.level is Level.PROBLEM]


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    """A namespace and two nodes, but no builder."""
    async with open_fake_kube_api() as api, open_client(api.connection()) as client:
        found = Ward(api, client, tmp_path)
        api.exec_handler = found.handle
        api.add(NAMESPACES, {"metadata": {"name": "default"}})
        api.add(NODES, node("node-amd64", "amd64"))
        api.add(NODES, node("node-arm64", "arm64"))
        api.fail("POST", SELF_REVIEWS.plural, 404, reason="NotFound")
        yield found


@pytest.fixture
async def daemon(ward: Ward) -> AsyncIterator[Callable[..., Any]]:
    """Makes a builder with a pod that is well, and serves its daemon."""
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def served(pod: str, **facts: Any) -> AsyncIterator[FakeDaemon]:
            async with serve_daemon(FakeDaemon(ward.folder / f"{pod}.sock", **facts)) as made:
                ward.daemons[pod] = made
                yield made

        async def make(name: str = "buildkit", architecture: str = "amd64", *, spec: BuilderSpec = SPEC, **facts: Any) -> FakeDaemon:
            ward.builder(name, architecture, spec=spec)
            facts.setdefault("platforms", [f"linux/{architecture}"])
            return await stack.enter_async_context(served(f"{name}-{architecture}-0", **facts))

        yield make
