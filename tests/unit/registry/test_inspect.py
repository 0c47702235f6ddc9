"""registry.inspect and registry.sources: attestations in each form, and documents that are not what they should be."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubectl_build.errors import RegistryError, UsageError
from kubectl_build.model.digest import (
    MEDIA_TYPE_DOCKER_LIST,
    MEDIA_TYPE_DOCKER_MANIFEST,
    MEDIA_TYPE_INDEX,
    MEDIA_TYPE_MANIFEST,
    sha256_digest,
)
from kubectl_build.model.reference import Reference
from kubectl_build.registry.client import RetryPolicy
from kubectl_build.registry.inspect import Details, inspect, load_details
from kubectl_build.registry.pool import Registries, open_registries
from kubectl_build.registry.sources import Named, load_source
from tests.unit.registry.fake import serve
from tests.unit.registry.store import Store
from tests.unit.registry.test_client import PLAIN, Logins

SPDX = "https://spdx.dev/Document"
SLSA = "https://slsa.dev/provenance/v1"


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Store, Registries]]:
    keychain, retry = Logins(), RetryPolicy(backoff=0)
    async with serve(Store()) as store, open_registries(keychain=keychain, trust=lambda _: PLAIN, retry=retry) as registries:
        yield store, registries


def reference(store: Store, tag: str = "1") -> Reference:
    return Reference(domain=store.host, path="app", tag=tag)


def put(store: Store, tag: str, document: Any, media_type: str = MEDIA_TYPE_INDEX) -> str:
    data = json.dumps(document).encode()
    for name in (tag, sha256_digest(data)):
        store.manifests["app", name] = (data, media_type)
    return sha256_digest(data)


def statements(store: Store, *found: tuple[str, str, Any]) -> str:
    """Put an attestation manifest with layers of (media type, predicate type, document)."""
    layers = []
    for media_type, kind, document in found:
        data = json.dumps(document).encode()
        store.blobs["app", sha256_digest(data)] = data
        annotations = {"in-toto.io/predicate-type": kind}
        layers.append({"mediaType": media_type, "digest": sha256_digest(data), "size": len(data), "annotations": annotations})
    return put(store, "", {"config": {}, "layers": layers}, MEDIA_TYPE_MANIFEST)


async def details(store: Store, registries: Registries, subject: str, attestation: str, annotation: str) -> Details:
    entries = [{"digest": subject}, {"digest": attestation, "annotations": {annotation: subject}}]
    put(store, "1", {"manifests": entries})
    return await load_details(registries, await inspect(registries, reference(store)), attestations=True)


@pytest.mark.parametrize("annotation", ["vnd.docker.reference.digest", "com.docker.reference.digest"])
async def test_details_have_plain_and_signed_statements(annotation: str) -> None:
    signed = {"payload": base64.b64encode(json.dumps({"predicate": {"signed": True}}).encode()).decode()}
    async with opened() as (store, registries):
        attestation = statements(
            store,
            ("application/vnd.in-toto+json", SPDX, {"predicate": {"first": 1}}),
            ("application/vnd.in-toto.spdx+dsse", SPDX, signed),
            ("application/vnd.in-toto.provenance+dsse", SLSA, signed),
            ("application/vnd.in-toto+json", SLSA, {"predicate": "a second one does not count"}),
            ("application/vnd.in-toto+json", "https://example.com/other", {}),
            ("application/octet-stream", SPDX, {}),
        )
        found = await details(store, registries, store.add_image("app", "x"), attestation, annotation)

    assert found.sbom == {"linux/amd64": [{"first": 1}, {"signed": True}]}
    assert found.provenance == {"linux/amd64": {"signed": True}}
    assert set(found.images) == {"linux/amd64"}


@pytest.mark.parametrize("document", [{"payload": "%"}, {}, {"payload": base64.b64encode(b"[]").decode()}, []])
async def test_details_of_a_malformed_signed_statement_are_an_error(document: Any) -> None:
    async with opened() as (store, registries):
        attestation = statements(store, ("application/vnd.in-toto.spdx+dsse", SPDX, document))
        with pytest.raises(RegistryError, match=r"the attestation sha256:\w+ of .* is (malformed|not a JSON object)"):
            await details(store, registries, store.add_image("app", "x"), attestation, "vnd.docker.reference.digest")


async def test_details_of_an_index_in_an_index_are_found() -> None:
    async with opened() as (store, registries):
        inner = put(store, "", {"manifests": [{"digest": store.add_image("app", "x")}]})
        put(store, "1", {"manifests": [{"digest": inner, "mediaType": MEDIA_TYPE_INDEX}]})
        found = await load_details(registries, await inspect(registries, reference(store)), attestations=False)

    assert set(found.images) == {"linux/amd64"}


@pytest.mark.parametrize("entry", [{}, {"digest": "../x"}])
async def test_details_of_an_index_with_a_bad_digest_are_an_error(entry: Any) -> None:
    async with opened() as (store, registries):
        put(store, "1", {"manifests": [entry]})
        found = await inspect(registries, reference(store))
        with pytest.raises(RegistryError, match="is not a digest"):
            await load_details(registries, found, attestations=False)


@pytest.mark.parametrize("data", [b"no json", b"[]"])
async def test_inspect_of_what_is_no_document_is_an_error(data: bytes) -> None:
    async with opened() as (store, registries):
        store.manifests["app", "1"] = (data, MEDIA_TYPE_INDEX)
        with pytest.raises(RegistryError, match=r"is not (valid JSON|a JSON object)"):
            await inspect(registries, reference(store))


@pytest.mark.parametrize("config", [None, {"digest": "sha256:x"}, {"digest": 1}])
async def test_source_with_a_malformed_config_is_an_error(config: Any) -> None:
    async with opened() as (store, registries):
        put(store, "1", {"config": config}, MEDIA_TYPE_MANIFEST)
        with pytest.raises(RegistryError, match="is malformed"):
            await load_source(registries, Named(text="", reference=reference(store)))


async def test_source_takes_its_platform_from_the_descriptor_then_from_the_config() -> None:
    async with opened() as (store, registries):
        store.add_image("app", "1")
        given = {"platform": {"os": "linux", "architecture": "arm", "variant": "v6"}}
        for descriptor, expected in (
            ({}, {"os": "linux", "architecture": "amd64"}),
            ({"platform": {"os": "windows"}}, {"os": "windows", "architecture": "amd64"}),
            (given, given["platform"]),
        ):
            source = await load_source(registries, Named(text="", reference=reference(store), descriptor=descriptor))
            assert source.descriptor["platform"] == expected


async def test_source_that_is_not_as_described_or_no_image_is_refused() -> None:
    async with opened() as (store, registries):
        store.add_image("app", "1")
        with pytest.raises(UsageError, match=r"says 1 bytes, and it has \d+"):
            await load_source(registries, Named(text="", reference=reference(store), descriptor={"size": 1}))
        with pytest.raises(UsageError, match="is neither an image nor an index, but application/x"):
            await load_source(registries, Named(text="", reference=reference(store), descriptor={"mediaType": "application/x"}))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"mediaType": MEDIA_TYPE_INDEX, "manifests": []}, MEDIA_TYPE_INDEX),
        ({"manifests": []}, MEDIA_TYPE_DOCKER_LIST),
    ],
)
async def test_source_without_a_media_type_is_known_by_what_it_has(document: Any, expected: str) -> None:
    async with opened() as (store, registries):
        put(store, "1", document, "")
        assert (await load_source(registries, Named(text="", reference=reference(store)))).descriptor["mediaType"] == expected
        image = json.loads(store.manifests["app", store.add_image("app", "x")][0])
        del image["mediaType"]
        put(store, "2", image, "")
        found = await load_source(registries, Named(text="", reference=reference(store, "2")))

        assert found.descriptor["mediaType"] == MEDIA_TYPE_DOCKER_MANIFEST
