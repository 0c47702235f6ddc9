"""Watching the pod that a build runs in, so that its death is told with its reason."""

from __future__ import annotations

from contextlib import aclosing

from kubectl_build.builder import names
from kubectl_build.builder.follow import follow
from kubectl_build.builder.state import PodInfo
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import PODS
from kubectl_build.errors import ApiError, ApiUnreachable, ConnectionLost
from kubectl_build.model.json import JsonObject


async def guard_pod(client: KubeClient, pod: PodInfo) -> None:
    """Return only when the pod can no longer be watched; raise ConnectionLost as soon as it is lost to its builds, saying why.

    A pod that merely terminates is not lost yet: its builds may end in the grace period. To be run beside a build, and cancelled after it.
    """
    try:
        async with aclosing(follow(client, PODS, field_selector=f"metadata.name={pod.name}")) as snapshots:
            async for snapshot in snapshots:
                reason = loss(snapshot.get(pod.name), pod)
                if reason:
                    raise ConnectionLost(f"pod {pod.name} of the builder was lost during the build: {reason}")
    except (ApiError, ApiUnreachable):
        # Without the right or the means to look, the connection itself tells when it breaks, only with less to say.
        return


def loss(seen: JsonObject | None, pod: PodInfo) -> str:
    """Say why `pod` as it was is no more, going by what is `seen` under its name now; "" while it lives. Pure."""
    if seen is None or seen["metadata"].get("uid") != pod.uid:
        return "it was deleted"
    status = seen.get("status") or {}
    if status.get("phase") == "Failed":
        if seen["metadata"].get("deletionTimestamp") and not status.get("reason"):
            return "it was deleted"  # its containers have ended before it
        return ": ".join(filter(None, (status.get("reason") or "it failed", status.get("message", ""))))
    state = next((item for item in status.get("containerStatuses") or () if item.get("name") == names.CONTAINER), None)
    if state is None:
        return ""
    ended = (state.get("state") or {}).get("terminated")
    if ended is None and int(state.get("restartCount") or 0) > pod.restarts:
        ended = (state.get("lastState") or {}).get("terminated") or {}
    if ended is None:
        return ""
    return f"buildkitd ended ({ended.get('reason') or 'Error'}, exit code {ended.get('exitCode', 'unknown')})"
