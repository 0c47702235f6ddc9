from __future__ import annotations

from typing import Any

import pytest

from kubectl_build.builder import names
from kubectl_build.builder.untried import is_untried
from kubectl_build.cluster.client import PODS, KubeClient
from kubectl_build.model.json import JsonObject
from tests.fakes.kube_api import FakeKubeApi

MADE = "2026-01-02T03:00:00Z"
OURS = [
    {"manager": "kubectl-build", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {}, "f:replicas": {}}}},
    {"manager": "kube-controller-manager", "subresource": "status", "fieldsV1": {"f:status": {}}},
]


def _set(**metadata: Any) -> JsonObject:
    own = {"name": "b-amd64", "uid": "s", "creationTimestamp": MADE, "generation": 1, "managedFields": OURS}
    return {"metadata": {**own, "labels": names.labels("b", "amd64"), **metadata}, "spec": {"template": {}}}


def _pod(*, made: str = "2026-01-02T03:00:01Z", owner: str = "s", **status: Any) -> JsonObject:
    owners = [{"kind": "StatefulSet", "uid": owner}]
    metadata = {"name": f"b-amd64-{owner}", "labels": names.labels("b", "amd64"), "creationTimestamp": made, "ownerReferences": owners}
    return {"metadata": metadata, "status": status}


def _not_ready(since: str) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": since}
    return {"startTime": "2026-01-02T03:00:05Z", "conditions": [condition]}


@pytest.mark.parametrize("status", [{}, {"conditions": [{"type": "PodScheduled", "status": "True"}]}, _not_ready("2026-01-02T03:00:05Z")])
async def test_pool_whose_first_pod_was_never_ready_is_untried(api: FakeKubeApi, client: KubeClient, status: JsonObject) -> None:
    api.add(PODS, _pod(**status))
    api.add(PODS, _pod(owner="another", conditions=[{"type": "Ready", "status": "True"}]))
    assert await is_untried(client, _set())


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(_pod(conditions=[{"type": "Ready", "status": "True"}]), id="ready"),
        pytest.param(_pod(**_not_ready("2026-01-02T03:00:30Z")), id="was-ready"),
        pytest.param(_pod(conditions=[{"type": "Ready", "status": "False"}]), id="in-doubt"),
        pytest.param(_pod(made="2026-01-02T04:00:00Z"), id="not-the-first"),
    ],
)
async def test_pool_with_a_pod_that_worked_or_is_a_later_one_is_not_untried(api: FakeKubeApi, client: KubeClient, pod: JsonObject) -> None:
    api.add(PODS, pod)
    assert not await is_untried(client, _set())


@pytest.mark.parametrize(
    "metadata",
    [
        {"generation": 2},
        {"managedFields": []},
        {"managedFields": [{"manager": "argocd", "fieldsV1": {"f:spec": {"f:template": {}}}}]},
        {"managedFields": [*OURS, {"manager": "kubectl-client-side-apply", "fieldsV1": {"f:spec": {"f:template": {}}}}]},
        {"annotations": {names.ANNOTATION_LAST_USED: "2026-01-02T03:04:05Z"}},
    ],
)
async def test_pool_of_others_or_that_was_changed_or_used_is_not_untried(client: KubeClient, metadata: dict[str, Any]) -> None:
    assert not await is_untried(client, _set(**metadata))
