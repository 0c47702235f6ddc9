from __future__ import annotations

from typing import Any

import pytest

from kubectl_build.builder.nodes import count_nodes, find_architectures, has_node, usable_architecture
from kubectl_build.cluster.client import NODES, KubeClient
from kubectl_build.model.json import JsonObject
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes


def _node(name: str, architecture: str, *, ready: str = "True", **spec: Any) -> JsonObject:
    labels = {"kubernetes.io/arch": architecture, "kubernetes.io/os": "linux"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def _taint(key: str, value: str, effect: str) -> JsonObject:
    return {"key": key, "value": value, "effect": effect}


@pytest.mark.parametrize(
    ("node", "architecture"),
    [
        (_node("n", "arm64"), "arm64"),
        (_node("n", "arm64", unschedulable=True), ""),
        (_node("n", "arm64", ready="False"), ""),
        (_node("n", "arm64", ready="Unknown"), ""),
        (_node("n", "arm64", taints=[_taint("kubernetes.io/arch", "arm64", "NoSchedule")]), "arm64"),
        (_node("n", "arm64", taints=[_taint("kubernetes.io/arch", "amd64", "NoSchedule")]), ""),
        (_node("n", "arm64", taints=[_taint("kubernetes.io/arch", "arm64", "NoExecute")]), ""),
        (_node("n", "arm64", taints=[_taint("gpu", "", "PreferNoSchedule")]), "arm64"),
        (_node("n", "amd64", taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]), ""),
        ({"metadata": {"name": "n"}}, ""),
    ],
)
def test_node_counts_when_a_builder_can_be_scheduled_there(node: JsonObject, architecture: str) -> None:
    assert usable_architecture(node) == architecture


async def test_count_nodes_counts_usable_ones_by_architecture(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    for number in range(3):
        api.add(NODES, _node(f"a{number}", "amd64"))
    api.add(NODES, _node("b", "arm64"))
    api.add(NODES, _node("c", "arm64", unschedulable=True))
    api.add(NODES, _node("d", "s390x", ready="False"))

    assert await count_nodes(client, notes) == {"amd64": 3, "arm64": 1}
    assert notes == []


async def test_has_node_stops_at_the_first_page_that_fits(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    for number in range(501):
        api.add(NODES, _node(f"{number:03}", "amd64"))

    assert await has_node(client, "amd64", notes) is True
    assert len(api.requests) == 1
    assert await has_node(client, "arm64", notes) is False


async def test_architectures_of_a_small_cluster_are_counted_in_one_request(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.add(NODES, _node("a", "amd64"))
    api.add(NODES, _node("b", "arm64"))
    api.add(NODES, _node("c", "arm64"))
    api.add(NODES, _node("d", "s390x", ready="False"))

    assert await find_architectures(client, notes) == {"amd64": 1, "arm64": 2}
    assert len(api.requests) == 1


async def test_architectures_of_a_large_cluster_are_found_in_few_nodes(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    for number in range(1200):
        api.add(NODES, _node(f"{number:04}", "amd64"))
    for number in range(600):
        api.add(NODES, _node(f"x{number:03}", "arm64", ready="False"))
    api.add(NODES, _node("y", "arm64"))
    api.add(NODES, _node("z", "riscv64"))

    assert set(await find_architectures(client, notes) or ()) == {"amd64", "arm64", "riscv64"}
    assert len(api.requests) == 5, "a few of all, the labels of the others, two pages until one of arm64 fits, the only one of riscv64"


async def test_architectures_without_a_usable_node_are_none(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    for number in range(30):
        api.add(NODES, _node(f"{number:02}", "amd64", ready="False"))

    assert await find_architectures(client, notes) == {}


async def test_nodes_that_may_not_be_listed_are_unknown_with_a_note(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("GET", "/nodes", 403)

    assert await count_nodes(client, notes) is None
    assert await has_node(client, "arm64", notes) is None
    assert await find_architectures(client, notes) is None
    assert notes.texts == ["the architectures of the nodes are not known: you may not list nodes"] * 3
