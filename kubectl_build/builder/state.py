"""A builder as it is in the cluster, put together from its objects. Pure.

Pods alone are enough: a user who may only list pods sees the same builder, with fewer details.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from kubectl_build.builder import names
from kubectl_build.builder.security import LADDER, level_of
from kubectl_build.builder.spec import BuilderSpec, merge, pool_architectures, runs_arm32
from kubectl_build.builder.spec_yaml import KEY, parse_spec
from kubectl_build.errors import ClusterError, ConfigError, UsageError
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform, parse_platforms
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInfo:
    """One pod of a pool. `node` is "" until it is scheduled; `outdated` tells that it runs an earlier configuration than a new pod would.

    A terminating pod counts as gone: on a node that is lost it stays so for ever.
    """

    name: str
    namespace: str
    uid: str
    architecture: str
    node: str = ""
    phase: str = ""
    ready: bool = False
    terminating: bool = False
    image: str = ""
    config_hash: str = ""
    outdated: bool = False
    started_at: datetime | None = None
    restarts: int = 0
    kept: bool = False
    """Whether autoscalers were asked to leave it, for the sake of a build."""

    @property
    def usable(self) -> bool:
        """Whether a build may be sent there now."""
        return self.ready and not self.terminating


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A builder's pods of one architecture. `replicas` is how many there should be, None when the StatefulSet could not be read.

    `last_used` is when a client that may say so last began a build there.
    """

    name: str
    architecture: str
    replicas: int | None = None
    config_hash: str = ""
    image: str = ""
    last_used: datetime | None = None
    pods: tuple[PodInfo, ...] = ()

    @property
    def usable_pods(self) -> tuple[PodInfo, ...]:
        """The pods that a build may be sent to now, by name."""
        return tuple(pod for pod in self.pods if pod.usable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """A builder. `spec` is None when its ConfigMap could not be read, or, with `problem` saying why, not be understood.

    `platforms` are the fixed ones (empty: builds add pools as they need them). `security` is the level of the pools, with commas where they
    differ.
    """

    name: str
    namespace: str
    spec: BuilderSpec | None = None
    problem: str = ""
    platforms: tuple[Platform, ...] = ()
    security: str = ""
    pools: tuple[Pool, ...] = ()
    created_at: datetime | None = None

    def pool(self, architecture: str) -> Pool | None:
        """The pool of `architecture`, if there is one."""
        return next((pool for pool in self.pools if pool.architecture == architecture), None)

    @property
    def fixed(self) -> bool:
        """Whether builds add no pools."""
        return bool(self.platforms)

    @property
    def arm32(self) -> bool:
        """Whether the arm64 pool was made for 32-bit arm too."""
        return runs_arm32(self.platforms)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The architectures of the pools there are, and of those that the fixed platforms ask for."""
        return tuple(dict.fromkeys([*(pool.architecture for pool in self.pools), *pool_architectures(self.platforms)]))

    @property
    def pods(self) -> tuple[PodInfo, ...]:
        """All pods of all pools."""
        return tuple(pod for pool in self.pools for pod in pool.pods)

    @property
    def status(self) -> str:
        """One word for listings: running (every pool has a pod that is ready), starting, stopped (no pool wants a pod) or empty."""
        if not self.pools:
            return "empty"
        wanted = [pool for pool in self.pools if pool.replicas != 0]
        if not wanted:
            return "stopped"
        return "running" if all(pool.usable_pods for pool in wanted) else "starting"

    def known_spec(self) -> BuilderSpec:
        """The spec. Raises ConfigError when it cannot be understood, ClusterError when it could not be read."""
        if self.spec is not None:
            return self.spec
        if self.problem:
            raise ConfigError(
                self.problem, hint=f"put it right, or remove the builder: kubectl buildkit rm {self.name} -n {self.namespace}"
            )
        raise ClusterError(f'the configuration of builder "{self.name}" in namespace "{self.namespace}" cannot be read by you')


def assemble(
    name: str,
    namespace: str,
    *,
    config_maps: Sequence[JsonObject] | None,
    stateful_sets: Sequence[JsonObject] | None,
    pods: Sequence[JsonObject],
) -> Builder | None:
    """Put builder `name` together from what carries its labels; None for kinds that may not be read. Returns None when there is nothing."""
    config_map = next((item for item in config_maps or () if _name(item) == name), None)
    sets = {_architecture(item): item for item in stateful_sets or () if _architecture(item)}
    by_architecture: dict[str, list[JsonObject]] = {architecture: [] for architecture in sets}
    for pod in pods:
        if _architecture(pod):
            by_architecture.setdefault(_architecture(pod), []).append(pod)
    if config_map is None and not by_architecture:
        return None
    spec, problem = _recorded_spec(config_map, name, namespace)
    pools = tuple(_pool(name, arch, sets.get(arch), items) for arch, items in sorted(by_architecture.items()))
    templates = [*pods, *(item["spec"]["template"] for item in sets.values())]
    seen = [item for item in (config_map, *sets.values(), *pods) if item is not None]
    return Builder(
        name=name,
        namespace=namespace,
        spec=spec,
        problem=problem,
        platforms=spec.platforms if spec else _annotated_platforms(templates),
        security=_security(spec, templates),
        pools=pools,
        created_at=min(filter(None, (read_time(item["metadata"].get("creationTimestamp")) for item in seen)), default=None),
    )


def by_builder(objects: Iterable[JsonObject]) -> dict[tuple[str, str], list[JsonObject]]:
    """Group objects by the namespace and the name of the builder that their labels say."""
    result: dict[tuple[str, str], list[JsonObject]] = {}
    for item in objects:
        instance = _labels(item).get(names.LABEL_INSTANCE)
        if instance:
            result.setdefault((item["metadata"].get("namespace", ""), instance), []).append(item)
    return result


def pod_info(pod: JsonObject, *, template_hash: str = "") -> PodInfo:
    """Read a pod object. `template_hash` is its StatefulSet's present configuration hash, "" when not known."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    container: JsonObject = next((item for item in spec.get("containers") or () if item.get("name") == names.CONTAINER), {})
    state: JsonObject = next((item for item in status.get("containerStatuses") or () if item.get("name") == names.CONTAINER), {})
    config_hash = _annotation(pod, names.ANNOTATION_CONFIG_HASH)
    return PodInfo(
        name=metadata["name"],
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        architecture=_architecture(pod),
        node=spec.get("nodeName") or "",
        phase=status.get("phase") or "",
        ready=any(item.get("type") == "Ready" and item.get("status") == "True" for item in status.get("conditions") or ()),
        terminating=bool(metadata.get("deletionTimestamp")),
        image=container.get("image") or "",
        config_hash=config_hash,
        outdated=bool(template_hash) and config_hash != template_hash,
        started_at=read_time(((state.get("state") or {}).get("running") or {}).get("startedAt") or status.get("startTime")),
        restarts=int(state.get("restartCount") or 0),
        kept=bool(_annotation(pod, names.ANNOTATION_KEPT)),
    )


def template_hash(stateful_set: JsonObject) -> str:
    """The configuration hash of the pods that this StatefulSet would make now."""
    return _annotation(stateful_set["spec"]["template"], names.ANNOTATION_CONFIG_HASH)


def last_used(stateful_set: JsonObject) -> datetime | None:
    """When a client last began a build in this pool, by that client's clock; None when none has said so."""
    try:
        found = read_time(_annotation(stateful_set, names.ANNOTATION_LAST_USED) or None)
    except ValueError:
        return None
    return found if found is None or found.tzinfo else None


def _pool(builder: str, architecture: str, stateful_set: JsonObject | None, pods: Sequence[JsonObject]) -> Pool:
    present = template_hash(stateful_set) if stateful_set else ""
    infos = tuple(sorted((pod_info(pod, template_hash=present) for pod in pods), key=lambda pod: pod.name))
    replicas: int | None = None
    image = infos[0].image if infos else ""
    if stateful_set is not None:
        replicas = int(stateful_set["spec"].get("replicas", 1))
        image = stateful_set["spec"]["template"]["spec"]["containers"][0].get("image", image)
    return Pool(
        name=names.pool_name(builder, architecture),
        architecture=architecture,
        replicas=replicas,
        config_hash=present,
        image=image,
        last_used=last_used(stateful_set) if stateful_set is not None else None,
        pods=infos,
    )


def _recorded_spec(config_map: JsonObject | None, name: str, namespace: str) -> tuple[BuilderSpec | None, str]:
    if config_map is None:
        return None, ""
    source = f'ConfigMap "{name}" in namespace "{namespace}"'
    text = (config_map.get("data") or {}).get(KEY)
    if text is None:
        return None, f'{source} has no key "{KEY}"'
    try:
        return merge(BuilderSpec(), parse_spec(text, source=source, recorded=True)), ""
    except ConfigError as exc:
        return None, exc.message


def _security(spec: BuilderSpec | None, templates: Iterable[JsonObject]) -> str:
    """The levels that the pools have, safest first; before there is a pool, what was asked for."""
    present = {level_of(item) for item in templates}
    return ",".join(level for level in LADDER if level in present) or (spec.security if spec else "")


def _annotated_platforms(templates: Iterable[JsonObject]) -> tuple[Platform, ...]:
    for item in templates:
        text = _annotation(item, names.ANNOTATION_PLATFORMS)
        if text:
            try:
                return parse_platforms([text])
            except UsageError:
                return ()
    return ()


def _name(item: JsonObject) -> str:
    return str(item["metadata"]["name"])


def _labels(item: JsonObject) -> Mapping[str, str]:
    labels: Mapping[str, str] = item["metadata"].get("labels") or {}
    return labels


def _architecture(item: JsonObject) -> str:
    return _labels(item).get(names.LABEL_ARCHITECTURE, "")


def _annotation(item: JsonObject, key: str) -> str:
    annotations: Mapping[str, Any] = item["metadata"].get("annotations") or {}
    return str(annotations.get(key) or "")


def read_time(text: object) -> datetime | None:
    """A time as the API server writes it; None where it wrote none."""
    return datetime.fromisoformat(text) if isinstance(text, str) else None
