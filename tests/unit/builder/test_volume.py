from __future__ import annotations

import tomllib
from typing import Any

import pytest

from kubectl_build.builder import names
from kubectl_build.builder.buildkitd_config import render_buildkitd_config
from kubectl_build.builder.manifests import render
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.volume import CacheVolume, claims_of, parse_cache


def _set(cache: str) -> dict[str, Any]:
    spec: dict[str, Any] = render("b", "", BuilderSpec(cache=parse_cache(cache)), ("amd64",)).stateful_sets["amd64"]["spec"]
    return spec


def _state(stateful_set: dict[str, Any]) -> list[Any]:
    return [volume for volume in stateful_set["template"]["spec"]["volumes"] if volume["name"] == "state"]


@pytest.mark.parametrize("text", ["emptydir", "emptydir,size=5Gi", "memory,size=1Gi", "pvc,size=1Gi", "pvc,size=1Gi,class=c,keep=true"])
def test_cache_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_cache(text)) == text


@pytest.mark.parametrize(
    ("cache", "source"),
    [
        ("emptydir", {}),
        ("emptydir,size=5Gi", {"sizeLimit": "5Gi"}),
        ("memory,size=1Gi", {"medium": "Memory", "sizeLimit": "1Gi"}),
    ],
)
def test_cache_in_the_pod_is_an_emptydir_and_no_claim(cache: str, source: dict[str, str]) -> None:
    stateful_set = _set(cache)

    assert _state(stateful_set) == [{"name": "state", "emptyDir": source}]
    assert "volumeClaimTemplates" not in stateful_set


@pytest.mark.parametrize(("keep", "deleted"), [("", "Delete"), (",keep=true", "Retain")])
def test_cache_of_a_claim_goes_with_the_builder_unless_it_is_kept_and_stays_when_it_stops(keep: str, deleted: str) -> None:
    stateful_set = _set(f"pvc,size=20Gi,class=fast{keep}")

    assert _state(stateful_set) == []
    (claim,) = stateful_set["volumeClaimTemplates"]
    assert claim["metadata"] == {"name": "state", "labels": names.labels("b", "amd64")}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "20Gi"}},
        "storageClassName": "fast",
    }
    assert stateful_set["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": deleted, "whenScaled": "Retain"}
    mounts = stateful_set["template"]["spec"]["containers"][0]["volumeMounts"]
    assert [mount["mountPath"] for mount in mounts if mount["name"] == "state"] == [
        mount["mountPath"] for mount in _set("emptydir")["template"]["spec"]["containers"][0]["volumeMounts"] if mount["name"] == "state"
    ]


def test_claims_are_compared_by_size_and_class_not_by_spelling() -> None:
    def claims(cache: str) -> object:
        return claims_of({"spec": _set(cache)})

    assert claims("pvc,size=1Gi") == claims("pvc,size=1024Mi,keep=true")
    assert len({claims(cache) for cache in ("emptydir", "pvc,size=1Gi", "pvc,size=2Gi", "pvc,size=1Gi,class=c")}) == 4


def _worker(spec: BuilderSpec) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(render_buildkitd_config(spec)).get("worker", {}).get("oci", {})
    return found


def test_collection_goes_by_the_size_of_the_volume() -> None:
    assert _worker(BuilderSpec()) == {}
    assert _worker(BuilderSpec(cache=CacheVolume(size="20Gi"))) == {"reservedSpace": "2048MB", "maxUsedSpace": "15360MB"}


def test_collection_of_the_users_own_toml_stays() -> None:
    own = "[worker.oci]\nmax-parallelism = 4\n"
    cache = CacheVolume(kind="memory", size="1Gi")

    assert _worker(BuilderSpec(cache=cache, buildkitd_config=own)) == {
        "max-parallelism": 4,
        "reservedSpace": "102MB",
        "maxUsedSpace": "768MB",
    }
    assert _worker(BuilderSpec(cache=cache, buildkitd_config="[worker.oci]\ngc = false\n")) == {"gc": False}


def test_entitlements_are_off_unless_the_builder_grants_them() -> None:
    def rights(spec: BuilderSpec) -> object:
        return tomllib.loads(render_buildkitd_config(spec)).get("insecure-entitlements")

    own = 'insecure-entitlements = ["security.insecure"]\n'
    assert rights(BuilderSpec()) is None
    assert rights(BuilderSpec(allow=("network.host",))) == ["network.host"]
    assert rights(BuilderSpec(allow=("network.host",), buildkitd_config=own)) == ["security.insecure", "network.host"]
