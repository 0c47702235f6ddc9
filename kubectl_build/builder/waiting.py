"""Waiting for pools to become ready: what is seen is followed, explained, and judged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress

from kubectl_build.builder import names
from kubectl_build.builder.explain import Diagnosis, PoolView, explain_pool
from kubectl_build.builder.follow import follow
from kubectl_build.builder.nodes import is_lost
from kubectl_build.builder.security import keeps_host_users
from kubectl_build.builder.start import start_pool
from kubectl_build.builder.state import PodInfo, pod_info, template_hash
from kubectl_build.builder.volume import VOLUME
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import EVENTS, PODS, STATEFULSETS
from kubectl_build.errors import BuilderNotReady, ClusterError, Conflict, Forbidden, NotFound, ungrouped
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject

_EVENTS_AFTER = 2.0
"""Events are asked for only when the pods are not ready by then: most are."""
_TICK = 0.5
_NODE_INTERVAL = 5.0


class PoolVanished(ClusterError):
    """A StatefulSet that was waited for is not there (any more): somebody removed it, or it is not the builder's."""


class LevelFailure(BuilderNotReady):
    """A pool whose pods cannot start, where another security level may help. `stateful_set` is what makes these pods."""

    def __init__(self, message: str, *, reason: str, hint: str | None, why: str, architecture: str, stateful_set: JsonObject) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.why = why
        self.architecture = architecture
        self.stateful_set = stateful_set


class PoolWait:
    """One wait for pools of a builder, at most until the event loop's clock says `until`.

    `ready` grows while it runs, and may be read after it failed.
    """

    def __init__(self, client: KubeClient, name: str, architectures: Sequence[str], *, replicas: int, emit: Sink, until: float) -> None:
        self._client, self._name, self._emit, self._until = client, name, emit, until
        self._architectures, self._replicas = tuple(architectures), replicas
        self._pods: Mapping[str, JsonObject] | None = None
        self._sets: Mapping[str, JsonObject] | None = None
        self._sets_known = True
        self._events: dict[str, Mapping[str, JsonObject]] = {}
        self._changed = asyncio.Event()
        self._said: dict[str, str] = {}
        self._failing_since: dict[str, float] = {}
        self._started: set[str] = set()
        self._ask_node_at: dict[str, float] = {}
        self.ready: dict[str, tuple[PodInfo, ...]] = {}

    async def run(self) -> dict[str, tuple[PodInfo, ...]]:
        """Wait until every pool has a pod that is ready, and return these pods.

        Emits "wait" notes that say why. Raises BuilderNotReady at the deadline or when it is pointless to wait longer, PoolVanished,
        ApiError, ApiUnreachable.
        """
        try:
            with ungrouped():
                async with asyncio.TaskGroup() as group:
                    followers = [
                        group.create_task(self._follow_pods(), name="follow pods"),
                        group.create_task(self._follow_sets(), name="follow statefulsets"),
                        group.create_task(self._follow_events(), name="follow events"),
                    ]
                    await self._until_ready()
                    for task in followers:
                        task.cancel()
        finally:
            for architecture in filter(self._said.get, self._said):
                self._emit(Note(text="", level="wait", pool=architecture))
        return {architecture: self.ready[architecture] for architecture in self._architectures}

    async def _follow_pods(self) -> None:
        async with aclosing(follow(self._client, PODS, label_selector=names.selector(self._name))) as snapshots:
            async for snapshot in snapshots:
                self._pods = snapshot
                self._changed.set()

    async def _follow_sets(self) -> None:
        try:
            async with aclosing(follow(self._client, STATEFULSETS, label_selector=names.selector(self._name))) as snapshots:
                async for snapshot in snapshots:
                    self._sets = snapshot
                    self._changed.set()
        except Forbidden:
            self._sets, self._sets_known = {}, False
            self._changed.set()

    async def _follow_events(self) -> None:
        """Follow the events of each pool's StatefulSet, its first pod and that one's claim: their names are known before they are there."""
        await asyncio.sleep(_EVENTS_AFTER)
        objects = [names.pool_name(self._name, arch) for arch in self._architectures if arch not in self.ready]
        objects += [f"{name}-0" for name in objects]
        if any(item["spec"].get("volumeClaimTemplates") for item in (self._sets or {}).values()):
            objects += [f"{VOLUME}-{name}" for name in objects if name.endswith("-0")]
        try:
            async with asyncio.TaskGroup() as group:
                for name in objects:
                    group.create_task(self._follow_events_of(name), name=f"follow events of {name}")
        except* Forbidden:
            self._emit(Note(text="events are not shown: you may not list events"))

    async def _follow_events_of(self, name: str) -> None:
        async with aclosing(follow(self._client, EVENTS, field_selector=f"involvedObject.name={name}")) as snapshots:
            async for snapshot in snapshots:
                self._events[name] = snapshot
                self._changed.set()

    async def _until_ready(self) -> None:
        while True:
            self._changed.clear()
            if self._pods is not None and self._sets is not None:
                waited_for = [arch for arch in self._architectures if not await self._is_ready(arch)]
                if not waited_for:
                    return
                for architecture in waited_for:
                    self._judge(architecture)
            elif asyncio.get_running_loop().time() > self._until:
                raise BuilderNotReady(f'builder "{self._name}" could not be looked at in time', reason="DeadlineExceeded")
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._changed.wait()

    async def _is_ready(self, architecture: str) -> bool:
        stateful_set = self._set_of(architecture)
        present = template_hash(stateful_set) if stateful_set else ""
        infos = (pod_info(pod, template_hash=present) for pod in self._pods_of(architecture) if keeps_host_users(pod))
        usable = tuple(sorted((info for info in infos if info.usable), key=lambda info: info.name))
        if usable:
            self.ready[architecture] = usable
            self._say(architecture, "")
            return True
        self.ready.pop(architecture, None)
        await self._start_if_stopped(architecture, stateful_set)
        await self._free_from_lost_nodes(self._pods_of(architecture))
        return False

    async def _free_from_lost_nodes(self, pods: Sequence[JsonObject]) -> None:
        """Remove pods that terminate for ever since their node is lost: a StatefulSet makes no successor while they are there.

        Nothing is shared between a pod and its successor (the state is the pod's own), so it does no harm if the node still runs it.
        """
        now = asyncio.get_running_loop().time()
        for pod in pods:
            uid, node = pod["metadata"].get("uid", ""), (pod.get("spec") or {}).get("nodeName")
            if not pod["metadata"].get("deletionTimestamp") or not node or now < self._ask_node_at.get(uid, 0.0):
                continue
            self._ask_node_at[uid] = now + _NODE_INTERVAL
            if await is_lost(self._client, node):
                self._emit(Note(text=f"node {node} is lost: pod {pod['metadata']['name']} is removed without it", level="warning"))
                with suppress(NotFound, Conflict, Forbidden):
                    await self._client.delete(PODS, pod["metadata"]["name"], uid=uid, grace_period=0)

    async def _start_if_stopped(self, architecture: str, stateful_set: JsonObject | None) -> None:
        if stateful_set is None or (architecture in self._started and stateful_set["spec"].get("replicas", 1) == 0):
            return
        if stateful_set["spec"].get("replicas", 1) != 0:
            # Somebody else's stop may come after our start.
            self._started.discard(architecture)
            return
        self._started.add(architecture)
        name = stateful_set["metadata"]["name"]
        self._emit(Note(text=f"pool {architecture} of builder {self._name} is stopped: starting it"))
        try:
            await start_pool(self._client, name, replicas=self._replicas)
        except Forbidden as exc:
            raise BuilderNotReady(
                f'builder "{self._name}" is stopped and you may not start it: {exc.message}',
                reason="Stopped",
                hint=f"ask for: kubectl scale statefulset {name} --replicas=1 -n {self._client.namespace}",
            ) from exc
        except NotFound:
            self._started.discard(architecture)

    def _judge(self, architecture: str) -> None:
        """Tell the user why the pool is not ready. Raises BuilderNotReady, PoolVanished when waiting longer is pointless."""
        stateful_set, pods = self._set_of(architecture), self._pods_of(architecture)
        if stateful_set is None and not pods and self._sets_known:
            raise PoolVanished(
                f'builder "{self._name}" in namespace "{self._client.namespace}" has no StatefulSet '
                f'"{names.pool_name(self._name, architecture)}": it was removed meanwhile, or one of that name belongs to something else'
            )
        events = [event for snapshot in self._events.values() for event in snapshot.values()]
        view = PoolView(namespace=self._client.namespace, architecture=architecture, stateful_set=stateful_set, pods=pods, events=events)
        diagnosis = explain_pool(view)
        self._say(architecture, diagnosis.text)
        now = asyncio.get_running_loop().time()
        if diagnosis.patience is None:
            self._failing_since.pop(architecture, None)
        elif now - self._failing_since.setdefault(architecture, now) >= diagnosis.patience:
            if diagnosis.level_matters and stateful_set is not None:
                raise level_failure(self._name, architecture, stateful_set, diagnosis)
            raise self._not_ready("cannot be started", diagnosis)
        if now > self._until:
            raise self._not_ready("did not start in time", diagnosis)

    def _not_ready(self, what: str, diagnosis: Diagnosis) -> BuilderNotReady:
        return BuilderNotReady(f'builder "{self._name}" {what}: {diagnosis.text}', reason=diagnosis.reason, hint=diagnosis.hint)

    def _say(self, architecture: str, text: str) -> None:
        if self._said.get(architecture, "") != text:
            self._said[architecture] = text
            self._emit(Note(text=f"waiting for builder {self._name}: {text}" if text else "", level="wait", pool=architecture))

    def _set_of(self, architecture: str) -> JsonObject | None:
        found = (self._sets or {}).get(names.pool_name(self._name, architecture))
        return found if found is not None and not found["metadata"].get("deletionTimestamp") else None

    def _pods_of(self, architecture: str) -> list[JsonObject]:
        """The pool's pods, without those that an earlier StatefulSet of its name has left and that are about to be collected."""
        pods = (self._pods or {}).values()
        own = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(names.LABEL_ARCHITECTURE) == architecture]
        stateful_set = self._set_of(architecture)
        return (
            own if stateful_set is None else [pod for pod in own if pod["metadata"].get("deletionTimestamp") or _is_of(pod, stateful_set)]
        )


def level_failure(builder: str, architecture: str, stateful_set: JsonObject, diagnosis: Diagnosis) -> LevelFailure:
    """The error for a pool whose StatefulSet cannot have its security level, as `diagnosis` says."""
    return LevelFailure(
        f'builder "{builder}" cannot be started: {diagnosis.text}',
        reason=diagnosis.reason,
        hint=diagnosis.hint,
        why=diagnosis.text,
        architecture=architecture,
        stateful_set=stateful_set,
    )


def _is_of(pod: JsonObject, stateful_set: JsonObject) -> bool:
    owners = [owner for owner in pod["metadata"].get("ownerReferences") or () if owner.get("kind", "StatefulSet") == "StatefulSet"]
    return not owners or any(owner["uid"] == stateful_set["metadata"].get("uid") for owner in owners)
