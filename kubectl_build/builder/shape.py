"""The parts of a builder's pods that are Kubernetes' business: where they run, as whom, and what is written on them. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from kubectl_build.builder.names import LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME
from kubectl_build.errors import UsageError
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

OWN_PREFIX = "kubectl-build/"
"""Of the labels and annotations by which builders are found and compared."""
HARD = ":hard"
"""The end of a topology key that must be met."""
_OWN_LABELS = (LABEL_NAME, LABEL_INSTANCE, LABEL_MANAGED_BY)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodShape:
    """What was said about the pods; an empty value, or None, was not said.

    `tolerations`, `affinity` and `template` are as Kubernetes writes them; `template` is merged over the pod when all else is in it.
    `spread` names node labels (topology keys) over whose values a pool's pods are spread; one that ends with ":hard" must be met.
    """

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[JsonObject, ...] = ()
    affinity: JsonObject = field(default_factory=dict)
    spread: tuple[str, ...] = ()
    priority_class: str = ""
    service_account: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    runtime_class: str = ""
    scheduler_name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    host_network: bool | None = None
    grace_seconds: int | None = None
    template: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises UsageError for a label or annotation that is ours to set, and for a grace period below zero."""
        check_own_names("label", self.labels)
        check_own_names("annotation", self.annotations)
        if self.grace_seconds is not None and self.grace_seconds < 0:
            raise UsageError(f'grace period "{self.grace_seconds}" is not valid: it is below zero')

    def over(self, other: PodShape) -> PodShape:
        """This shape, with that of `other` where this one says nothing. What is by name (selector, annotations, labels) is joined."""
        return PodShape(
            node_selector={**other.node_selector, **self.node_selector},
            tolerations=self.tolerations or other.tolerations,
            affinity=self.affinity or other.affinity,
            spread=self.spread or other.spread,
            priority_class=self.priority_class or other.priority_class,
            service_account=self.service_account or other.service_account,
            image_pull_secrets=self.image_pull_secrets or other.image_pull_secrets,
            runtime_class=self.runtime_class or other.runtime_class,
            scheduler_name=self.scheduler_name or other.scheduler_name,
            annotations={**other.annotations, **self.annotations},
            labels={**other.labels, **self.labels},
            host_network=other.host_network if self.host_network is None else self.host_network,
            grace_seconds=other.grace_seconds if self.grace_seconds is None else self.grace_seconds,
            template=self.template or other.template,
        )


def check_own_names(kind: str, given: Mapping[str, str]) -> None:
    """Raise UsageError for a name in `given` (labels or annotations, as `kind` says) by which builders are found."""
    for name in given:
        if name in _OWN_LABELS or name.startswith(OWN_PREFIX):
            raise UsageError(f'{kind} "{name}" is set by kubectl-build itself: builders are found by it', hint="choose another name")
