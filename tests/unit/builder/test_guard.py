"""When a builder's pod is lost to its builds, and why."""

from __future__ import annotations

import pytest

from kubectl_build.builder.guard import loss
from kubectl_build.builder.state import PodInfo
from kubectl_build.model.json import JsonObject

POD = PodInfo(name="b-amd64-0", namespace="ns", uid="u1", architecture="amd64", ready=True, restarts=1)


def seen(*, uid: str = "u1", phase: str = "Running", restarts: int = 1, deleting: bool = False, **state: JsonObject) -> JsonObject:
    metadata: JsonObject = {"name": POD.name, "uid": uid}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    container = {"name": "buildkitd", "restartCount": restarts, **state}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [container]}}


RUNNING: JsonObject = {"running": {}}
KILLED: JsonObject = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (seen(state=RUNNING), ""),
        (seen(state=RUNNING, deleting=True), ""),
        (None, "it was deleted"),
        (seen(uid="u2", state=RUNNING), "it was deleted"),
        (seen(state=KILLED), "buildkitd ended (OOMKilled, exit code 137)"),
        (seen(restarts=2, state=RUNNING, lastState=KILLED), "buildkitd ended (OOMKilled, exit code 137)"),
        (seen(restarts=2, state=RUNNING), "buildkitd ended (Error, exit code unknown)"),
        (
            {"metadata": {"uid": "u1"}, "status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}},
            "Evicted: low on memory",
        ),
        ({"metadata": {"uid": "u1", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Failed"}}, "it was deleted"),
    ],
)
def test_loss_of_a_pod_is_told_with_its_reason(pod: JsonObject | None, reason: str) -> None:
    assert loss(pod, POD) == reason
