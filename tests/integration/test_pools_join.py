"""What pools make of one request, each told its share: joined, the index that one daemon makes of the whole request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kubectl_build.attachables import Services, open_services
from kubectl_build.buildkit.build import solve_request
from kubectl_build.buildkit.client import BuildkitClient
from kubectl_build.buildkit.daemon import open_daemon
from kubectl_build.buildkit.response import parse_descriptor, raw_descriptor
from kubectl_build.model.events import BuildEvent, Note, StatusUpdate
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.platform import Platform, parse_platforms
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import Annotation, BuildRequest, CacheEntry, Output, OutputType
from kubectl_build.proto import gateway_pb2
from kubectl_build.registry.client import RegistryTrust, open_registry
from kubectl_build.registry.index import Child, merge_index
from tests.cluster import tools
from tests.cluster.registries import Kind, run_registry
from tests.integration.buildkitd import running_buildkitd
from tests.integration.layouts import known
from tests.integration.test_registry import Nobody, free_address

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_SHARES = {"amd64": ("windows/amd64", "linux/amd64"), "arm64": ("linux/arm64",)}
_ARM = Platform("linux", "arm64")

_ANNOTATIONS = (
    Annotation(kind="manifest", key="all", value="<1>"),
    Annotation(kind="manifest", key="one", value="2", platform=_ARM),
    Annotation(kind="manifest-descriptor", key="all", value="3"),
    Annotation(kind="manifest-descriptor", key="one", value="&4", platform=Platform("windows", "amd64")),
    Annotation(kind="index", key="z", value="5"),
    Annotation(kind="index", key="a", value="é6"),
    Annotation(kind="index-descriptor", key="z", value="7"),
    Annotation(kind="index-descriptor", key="a", value="8"),
)


def request_of(context: Path) -> BuildRequest:
    """Three platforms, annotated in every way."""
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY file /file-$TARGETARCH\n")
    (context / "file").write_text("content")
    return BuildRequest(
        context=LocalContext(context),
        dockerfile=Dockerfile(directory=context),
        platforms=parse_platforms(["linux/arm64,windows/amd64,linux/amd64"]),
        tags=(parse_reference("r.example/app:v1"),),
        outputs=(Output(type=OutputType.IMAGE, attrs={"annotation[linux/amd64].own": "9", "rewrite-timestamp": "true"}),),
        build_args={"SOURCE_DATE_EPOCH": "0"},
        annotations=_ANNOTATIONS,
    )


class Bench:
    """A daemon that plays every pool."""

    def __init__(self, client: BuildkitClient, services: Services) -> None:
        self._client = client
        self._services = services
        self.notes: list[str] = []
        self.cached: dict[str, bool] = {}

    def _emit(self, event: BuildEvent) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)
        elif isinstance(event, StatusUpdate):
            self.cached |= {vertex.name: vertex.cached for vertex in event.vertexes if vertex.completed}

    async def solve(
        self, request: BuildRequest, platforms: Sequence[Platform], *, pool: str = "", pools: Sequence[str] = ()
    ) -> Mapping[str, str]:
        """What the exporters answer for a pool's share, or for the whole."""
        result = await solve_request(
            request, self._client, platforms, _go_on, services=self._services, emit=self._emit, pool=pool, pools=pools
        )
        return result.response

    async def child(self, response: Mapping[str, str]) -> Child:
        """As join.py makes it of a share."""
        made = parse_descriptor(response)
        return Child(descriptor=made, raw_descriptor=raw_descriptor(response), index=await self._client.read_content(made.digest))


async def _go_on(_result: gateway_pb2.Result) -> bool:
    return True


@asynccontextmanager
async def open_bench(socket: Path, request: BuildRequest) -> AsyncIterator[Bench]:
    async with (
        open_daemon(f"unix://{socket}") as daemon,
        open_services(request, keychain=Nobody(), shared_key=known("")) as services,
    ):
        yield Bench(daemon.client, services)


async def test_annotations_of_every_kind_over_two_pools_are_those_of_one_daemon(buildkitd: Path, tmp_path: Path) -> None:
    request = request_of(tmp_path / "context")
    async with open_bench(buildkitd, request) as bench:
        whole = await bench.solve(request, request.platforms)
        shares = [
            await bench.solve(request, parse_platforms(platforms), pool=pool, pools=tuple(_SHARES)) for pool, platforms in _SHARES.items()
        ]

        document = merge_index(request.platforms, [await bench.child(share) for share in shares])

        one = await bench.child(whole)
    assert one.index is not None
    assert document.data == one.index
    assert document.descriptor == one.raw_descriptor
    assert list(document.descriptor) == list(one.raw_descriptor)
    for text in (b'"z": "5"', b'"one": "\\u00264"'):
        assert text in document.data
    assert document.descriptor["annotations"] == {"a": "8", "z": "7"}


async def test_local_cache_of_two_pools_is_kept_apart_and_imported_by_both(buildkitd: Path, tmp_path: Path) -> None:
    request = request_of(tmp_path / "context")
    cache = tmp_path / "cache"
    request = replace(
        request,
        outputs=(),
        tags=(),
        annotations=(),
        cache_to=(CacheEntry(type="local", attrs={"dest": str(cache), "mode": "max"}),),
        cache_from=(CacheEntry(type="local", attrs={"src": str(cache)}),),
    )
    async with open_bench(buildkitd, request) as bench:
        for pool, platforms in [*_SHARES.items(), *_SHARES.items()]:
            bench.notes.clear()
            await bench.solve(request, parse_platforms(platforms), pool=pool, pools=tuple(_SHARES))

        assert bench.notes == []
    index = (cache / "index.json").read_text()
    assert '"latest-amd64"' in index
    assert '"latest-arm64"' in index
    assert '"latest"' not in index


async def test_registry_cache_of_two_pools_serves_a_new_daemon_of_either(buildkitd: Path, tmp_path: Path) -> None:
    registry_program = tools.ensure(["docker-registry"])["docker-registry"]
    pools = tuple(_SHARES)
    (tmp_path / "fresh").mkdir()
    with (
        run_registry(Kind.INSECURE, tmp_path / "registry", free_address(), binary=registry_program) as registry,
        running_buildkitd(tmp_path / "fresh") as fresh,
    ):
        place = {"ref": f"{registry.address}/cache:main", "registry.insecure": "true"}
        request = replace(
            request_of(tmp_path / "context"),
            outputs=(),
            tags=(),
            annotations=(),
            cache_from=(CacheEntry(type="registry", attrs=place),),
            cache_to=(CacheEntry(type="registry", attrs={**place, "mode": "max"}),),
        )
        async with open_bench(buildkitd, request) as bench, asyncio.TaskGroup() as group:
            for pool, platforms in _SHARES.items():
                group.create_task(bench.solve(request, parse_platforms(platforms), pool=pool, pools=pools))
        async with open_bench(fresh, request) as bench:
            await bench.solve(replace(request, cache_to=()), request.platforms, pool="arm64", pools=pools)

        # One step for each architecture: what each of the two pools wrote has been found.
        assert [cached for name, cached in bench.cached.items() if " COPY " in name] == [True, True]
        async with open_registry(registry.address, keychain=Nobody(), trust=RegistryTrust(http=True)) as client:
            made = [await client.head_manifest("cache", tag) for tag in ("main-amd64", "main-arm64", "main")]
    assert made[0] is not None
    assert made[1] is not None
    assert made[2] is None
