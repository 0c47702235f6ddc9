"""Whether a pool has never had a pod that worked, as the cluster itself records it: only then may it be made again less safe."""

from __future__ import annotations

from datetime import datetime, timedelta

from kubectl_build.builder import names
from kubectl_build.builder.state import last_used
from kubectl_build.cluster.client import FIELD_MANAGER, KubeClient
from kubectl_build.cluster.resources import PODS
from kubectl_build.model.json import JsonObject

_FIRST = timedelta(seconds=10)
"""A pod that is made so soon after its StatefulSet is the first of its name: the controller makes it at once."""
_AT_ONCE = timedelta(seconds=2)
"""A pod's kubelet says so soon that it is not ready yet; a later word of that comes from one that was ready before."""


async def is_untried(client: KubeClient, stateful_set: JsonObject) -> bool:
    """Whether nobody can have built in a pool that `create` has made: it was never changed, and its first pods were never ready.

    False in doubt, and for a pool that others look after (GitOps, kubectl), who would only put it back. Raises ApiError.
    """
    is_changed = stateful_set["metadata"].get("generation") != 1
    if is_changed or _managers(stateful_set) != {FIELD_MANAGER} or last_used(stateful_set) is not None:
        return False
    selector = names.selector(stateful_set["metadata"]["labels"][names.LABEL_INSTANCE])
    listed = (await client.list(PODS, label_selector=selector)).items
    uid, made = stateful_set["metadata"]["uid"], _time(stateful_set["metadata"]["creationTimestamp"])
    own = [pod for pod in listed if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())]
    return all(_time(pod["metadata"]["creationTimestamp"]) - made <= _FIRST and _never_ready(pod) for pod in own)


def _managers(stateful_set: JsonObject) -> set[str]:
    """Who has said what the pool's pods are."""
    fields = stateful_set["metadata"].get("managedFields") or ()
    return {entry["manager"] for entry in fields if "f:template" in (entry.get("fieldsV1") or {}).get("f:spec", {})}


def _never_ready(pod: JsonObject) -> bool:
    status = pod.get("status") or {}
    ready = next((item for item in status.get("conditions") or () if item.get("type") == "Ready"), None)
    if ready is None:
        return True
    if ready.get("status") == "True" or not ready.get("lastTransitionTime") or not status.get("startTime"):
        return False
    return _time(ready["lastTransitionTime"]) - _time(status["startTime"]) <= _AT_ONCE


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
