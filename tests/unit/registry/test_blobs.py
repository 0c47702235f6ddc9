"""registry.blobs and registry.copy: streams, mounts, uploads that go on elsewhere or break, and what refers to an image."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from kubectl_build.errors import RegistryError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.digest import sha256_digest
from kubectl_build.model.reference import parse_reference
from kubectl_build.registry.client import RegistryTrust, RetryPolicy
from kubectl_build.registry.copy import ATTESTATION, Copier
from kubectl_build.registry.pool import Place, open_registries
from tests.unit.registry.fake import PASSWORD, USER, answering, hang_up, serve
from tests.unit.registry.store import Store
from tests.unit.registry.test_client import Logins, client

LOGIN = Credentials(username=USER, secret=PASSWORD)
DATA = b"some bytes" * 1000
DIGEST = sha256_digest(DATA)


async def pieces(data: bytes = DATA) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


async def push(store: Store, **options: Any) -> None:
    async with client(store, LOGIN, **options) as registry:
        await registry.blobs.push("team/app", DIGEST, len(DATA), pieces)


def ignore(_: str) -> None:
    """What a copier tells is for nobody."""


@asynccontextmanager
async def place(store: Store, repository: str, login: Credentials | None = LOGIN) -> AsyncIterator[Place]:
    async with client(store, login) as registry:
        yield Place(client=registry, repository=repository)


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
@pytest.mark.parametrize("location", ["/upload/{repository}/1?state={state}", "{url}/upload/{repository}/1?x=%20y&state={state}"])
async def test_push_goes_on_where_the_registry_says(auth: Any, location: str) -> None:
    async with serve(Store(auth=auth, location=location)) as store:
        await push(store)

        assert store.blobs["team/app", DIGEST] == DATA


async def test_push_that_goes_on_at_another_host_takes_no_login_along() -> None:
    async with serve(Store()) as storage, serve(Store(auth="basic")) as store:
        store.location = f"{storage.url}/upload/{{repository}}/1?state={{state}}"
        await push(store)

        assert storage.blobs["team/app", DIGEST] == DATA
        assert storage.authorizations == [""]


@pytest.mark.parametrize("status", [307, 308])
async def test_push_redirected_to_another_host_keeps_the_body_but_not_the_login(status: int) -> None:
    async with serve(Store()) as storage, serve(Store(auth="basic")) as store:
        target = store.location.replace("{repository}", "team/app").replace("{state}", "a%2Fb%2Bc%3D%252F")
        store.blob_answers.append(answering(status, Location=f"{storage.url}{target}&digest={DIGEST}"))
        await push(store)

        assert storage.blobs["team/app", DIGEST] == DATA
        assert storage.authorizations == [""]
        assert all(store.authorizations[1:])


@pytest.mark.parametrize("location", ["http://me@127.0.0.1:1/x", "ftp://127.0.0.1/x", "http://["])
async def test_push_that_would_go_on_at_a_forbidden_place_is_refused(location: str) -> None:
    async with serve(Store(location=location)) as store:
        with pytest.raises(RegistryError, match=r"wants the upload at|is not a URL"):
            await push(store)


@pytest.mark.parametrize("failure", [hang_up, answering(502), answering(404, "BLOB_UPLOAD_UNKNOWN"), answering(429, Retry_After="0")])
async def test_push_that_breaks_begins_again(failure: Any) -> None:
    async with serve(Store()) as store:
        store.blob_answers.extend([failure, failure])
        await push(store)

        assert store.blobs["team/app", DIGEST] == DATA
        assert store.requests.count("POST /v2/team/app/blobs/uploads/") == 3


async def test_push_that_the_registry_refuses_is_not_repeated() -> None:
    async with serve(Store()) as store:
        for refusal in (answering(413, "SIZE_INVALID"), answering(429, Retry_After="3600")):
            store.blob_answers.append(refusal)
            with pytest.raises(RegistryError, match=r"answered 413 .*SIZE_INVALID|gets too many requests"):
                await push(store)

        assert len(store.requests) == 4


async def test_push_tells_the_failure_of_its_source_and_closes_it() -> None:
    closed = []

    async def broken() -> AsyncGenerator[bytes, None]:
        try:
            yield DATA[:10]
            raise RegistryError("the source is gone")
        finally:
            closed.append(True)

    async with serve(Store()) as store, client(store) as registry:
        with pytest.raises(RegistryError, match="the source is gone"):
            await registry.blobs.push("team/app", DIGEST, len(DATA), broken)

    assert closed == [True]


async def test_open_redirected_to_storage_takes_no_login_along_and_takes_up_no_challenge() -> None:
    async with serve(Store()) as storage, serve(Store(auth="basic")) as store, client(store, LOGIN) as registry:
        store.blobs["team/app", DIGEST] = storage.blobs["team/app", DIGEST] = DATA
        assert await registry.blobs.exists("team/app", DIGEST)
        store.answers.append(answering(307, Location=f"{storage.url}/v2/team/app/blobs/{DIGEST}"))

        assert await registry.blobs.read("team/app", DIGEST, limit=len(DATA)) == DATA
        assert storage.authorizations == [""]

        storage.auth = "basic"
        store.answers.append(answering(307, Location=f"{storage.url}/v2/team/app/blobs/{DIGEST}"))
        with pytest.raises(RegistryError) as caught:
            await registry.blobs.read("team/app", DIGEST, limit=len(DATA))

        assert caught.value.status == 401
        assert storage.authorizations == ["", ""]


async def test_read_of_other_bytes_than_the_digest_is_an_error() -> None:
    async with serve(Store()) as store, client(store) as registry:
        store.blobs["team/app", DIGEST] = DATA[:-1]
        with pytest.raises(RegistryError, match=f"other bytes for .*{DIGEST}"):
            await registry.blobs.read("team/app", DIGEST, limit=len(DATA))
        store.blobs["team/app", DIGEST] = DATA
        with pytest.raises(RegistryError, match="has more than 100 bytes"):
            await registry.blobs.read("team/app", DIGEST, limit=100)


async def test_open_of_a_large_blob_is_pushed_on_in_bounded_memory() -> None:
    size, block = 48 * 1024 * 1024, bytes(64 * 1024)
    digest = sha256_digest(bytes(size))
    counted = 0

    async def blob(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(size)})
        await answer.prepare(request)
        for _ in range(size // len(block)):
            await answer.write(block)
        return answer

    async def upload(request: web.Request) -> web.StreamResponse:
        nonlocal counted
        async for chunk in request.content.iter_chunked(64 * 1024):
            counted += len(chunk)
        return web.Response(status=201)

    async with serve(Store()) as source, serve(Store()) as target, client(source) as reader, client(target) as writer:
        source.answers.append(blob)
        target.blob_answers.append(upload)

        async def chunks() -> AsyncGenerator[bytes, None]:
            async with reader.blobs.open("team/app", digest) as opened:
                async for chunk in opened:
                    yield chunk

        tracemalloc.start()
        try:
            await writer.blobs.push("team/app", digest, size, chunks)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert counted == size
    assert peak < 8 * 1024 * 1024


async def test_mount_asks_for_a_token_for_both_repositories() -> None:
    async with serve(Store(auth="bearer")) as store, client(store, LOGIN) as registry:
        store.blobs["team/base", DIGEST] = DATA
        assert await registry.blobs.mount("team/app", DIGEST, "team/base") is None

        assert store.blobs["team/app", DIGEST] == DATA
        assert set(store.scopes) == {"repository:team/app:pull,push", "repository:team/base:pull"}


@pytest.mark.parametrize("mounts", [True, False])
async def test_copy_within_a_registry_mounts_or_else_streams(mounts: bool) -> None:
    async with serve(Store(mounts=mounts)) as store, place(store, "team/base") as source, place(store, "team/app") as target:
        digest = store.add_image("team/base", "1")
        told: list[str] = []
        await Copier(target, told.append).copy(source, digest)

        assert store.manifests["team/app", digest] == store.manifests["team/base", digest]
        assert len([key for key in store.blobs if key[0] == "team/app"]) == 2
        assert len(store.bodies) == len(told) == (0 if mounts else 2)


async def test_copy_where_mounting_is_forbidden_streams() -> None:
    async with serve(Store()) as store, place(store, "team/base") as source, place(store, "team/app") as target:
        digest = store.add_image("team/base", "1")
        begin = store._begin

        def forbidding(request: web.Request, repository: str) -> web.Response:
            return web.Response(status=405) if "mount" in request.query else begin(request, repository)

        store._begin = forbidding  # type: ignore[method-assign]
        await Copier(target, ignore).copy(source, digest)

        assert len(store.bodies) == 2


async def test_copy_of_what_is_there_sends_nothing() -> None:
    async with serve(Store()) as here, serve(Store()) as there, place(here, "a") as source, place(there, "b") as target:
        digest = here.add_image("a", "1")
        copier = Copier(target, ignore)
        await copier.copy(source, digest)
        sent = len(there.requests)
        await copier.copy(source, digest)
        await Copier(target, ignore).copy(source, digest)

        assert [line for line in there.requests[sent:] if not line.startswith(("HEAD", "GET"))] == []
        await Copier(source, ignore).copy(source, digest)


@pytest.mark.parametrize("lists", [True, False])
async def test_copy_takes_the_attestations_that_refer_to_an_image_along(lists: bool) -> None:
    async with (
        serve(Store()) as here,
        serve(Store(lists_referrers=lists)) as there,
        place(here, "a") as source,
        place(there, "b") as target,
    ):
        digest = here.add_image("a", "1")
        subject = {"mediaType": "m", "digest": digest, "size": 1}
        attestation = here.add_image("a", "x", layer=b"statement", subject=subject, artifactType=ATTESTATION)
        here.add_image("a", "y", layer=b"something else", subject=subject, artifactType="application/x-else")
        await Copier(target, ignore).copy(source, digest)

        assert ("b", attestation) in there.manifests
        assert [entry["digest"] for entry in await target.client.referrers("b", digest)] == [attestation]
        assert (("b", digest.replace(":", "-")) in there.manifests) is not lists


@pytest.mark.parametrize(
    "document",
    [
        {"manifests": [{"digest": "../../other/blobs/x"}]},
        {"layers": [{"digest": "sha256:0", "size": 1}]},
        {"layers": ["x"]},
        {"config": {"digest": DIGEST}},
        [],
    ],
)
async def test_copy_of_a_malformed_manifest_is_an_error(document: Any) -> None:
    async with serve(Store()) as here, serve(Store()) as there, place(here, "a") as source, place(there, "b") as target:
        data = json.dumps(document).encode()
        here.manifests["a", sha256_digest(data)] = (data, "application/vnd.oci.image.manifest.v1+json")
        with pytest.raises(RegistryError, match="is malformed"):
            await Copier(target, ignore).copy(source, sha256_digest(data))

        assert there.manifests == {}


async def test_registries_open_one_client_for_each_host() -> None:
    asked: list[str] = []

    def trust(host: str) -> RegistryTrust:
        asked.append(host)
        return RegistryTrust(http=True)

    async with open_registries(keychain=Logins(), trust=trust, retry=RetryPolicy(backoff=0)) as registries:
        places = [await registries.place(parse_reference(name)) for name in ("reg.example/a", "reg.example/b:1", "other.example/a")]

    assert asked == ["reg.example", "other.example"]
    assert [str(found) for found in places] == ["reg.example/a", "reg.example/b", "other.example/a"]
