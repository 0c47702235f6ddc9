from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from kubectl_build.builder import names
from kubectl_build.builder.manifests import render
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import Builder, assemble, pod_info
from kubectl_build.errors import ClusterError, ConfigError
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import parse_platforms
from tests.unit.builder.controller import READY

SPEC = BuilderSpec(platforms=parse_platforms(["linux/amd64,linux/arm64,linux/arm/v7"]))


def _objects(spec: BuilderSpec = SPEC) -> tuple[JsonObject, list[JsonObject], list[JsonObject]]:
    manifests = copy.deepcopy(render("b", "n", spec, ("amd64", "arm64")))
    sets = list(manifests.stateful_sets.values())
    pods = []
    for item in sets:
        name = item["metadata"]["name"] + "-0"
        template = copy.deepcopy(item["spec"]["template"])
        metadata = {"name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-01-02T00:00:00Z", **template["metadata"]}
        pods.append({"metadata": metadata, "spec": {**template["spec"], "nodeName": "node-1"}, "status": copy.deepcopy(READY)})
    return manifests.config_map, sets, pods


def _assemble(**changes: Any) -> Builder | None:
    config_map, sets, pods = _objects()
    return assemble("b", "n", **({"config_maps": [config_map], "stateful_sets": sets, "pods": pods} | changes))


def test_builder_of_all_objects_has_its_spec_and_pools() -> None:
    builder = _assemble()

    assert builder is not None
    assert builder.spec == SPEC
    assert [pool.architecture for pool in builder.pools] == ["amd64", "arm64"]
    assert [pool.replicas for pool in builder.pools] == [1, 1]
    assert [pod.name for pod in builder.pods] == ["b-amd64-0", "b-arm64-0"]
    assert builder.status == "running"
    assert builder.architectures == ("amd64", "arm64")
    pod = builder.pods[0]
    assert (pod.node, pod.phase, pod.ready, pod.outdated, pod.image) == ("node-1", "Running", True, False, SPEC.image)
    assert pod.started_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_builder_of_pods_alone_has_all_that_a_build_needs() -> None:
    builder = _assemble(config_maps=None, stateful_sets=None)

    assert builder is not None
    assert builder.platforms == SPEC.platforms
    assert builder.security == "userns"
    assert builder.arm32
    assert builder.fixed
    assert [(pool.architecture, len(pool.usable_pods), pool.replicas) for pool in builder.pools] == [("amd64", 1, None), ("arm64", 1, None)]
    with pytest.raises(ClusterError, match="cannot be read by you"):
        builder.known_spec()


def test_builder_without_any_object_is_none() -> None:
    assert assemble("b", "n", config_maps=[], stateful_sets=[], pods=[]) is None
    assert assemble("b", "n", config_maps=None, stateful_sets=None, pods=[]) is None


def test_builder_of_a_config_map_alone_is_empty() -> None:
    config_map, _, _ = _objects(BuilderSpec())
    builder = assemble("b", "n", config_maps=[config_map], stateful_sets=[], pods=[])

    assert builder is not None
    assert (builder.status, builder.pools, builder.fixed) == ("empty", (), False)


def test_builder_whose_spec_cannot_be_understood_is_listed_and_says_why_when_it_is_needed() -> None:
    config_map, sets, pods = _objects()
    config_map["data"]["builder.yaml"] = "fromTheFuture: 1"
    builder = assemble("b", "n", config_maps=[config_map], stateful_sets=sets, pods=pods)

    assert builder is not None
    assert builder.status == "running"
    with pytest.raises(ConfigError, match='"fromTheFuture"'):
        builder.known_spec()


def test_pod_of_an_earlier_configuration_is_outdated() -> None:
    config_map, sets, pods = _objects()
    sets[0]["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_CONFIG_HASH] = "new"
    builder = assemble("b", "n", config_maps=[config_map], stateful_sets=sets, pods=pods)

    assert builder is not None
    assert [pod.outdated for pod in builder.pods] == [True, False]


def test_terminating_pod_is_not_usable_however_ready_it_says_it_is() -> None:
    _, _, pods = _objects()
    pods[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert pod_info(pods[0]).ready
    assert not pod_info(pods[0]).usable


@pytest.mark.parametrize(
    ("replicas", "ready", "status"), [(0, False, "stopped"), (1, False, "starting"), (1, True, "running"), (0, True, "stopped")]
)
def test_status_says_what_the_pools_do(replicas: int, ready: bool, status: str) -> None:
    config_map, sets, pods = _objects()
    for item in sets:
        item["spec"]["replicas"] = replicas
    builder = assemble("b", "n", config_maps=[config_map], stateful_sets=sets, pods=pods if ready else [])

    assert builder is not None
    assert builder.status == status
