"""Which pod of a pool a build goes to: consistent hashing with bounded load (Mirrokni, Thorup, Zadimoghaddam 2017).

Builds of one context meet the same pod, hence their cache, as long as no pod has much more than its share of the builds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from kubectl_build.builder.state import PodInfo

_BOUND = 1.25
"""How much more than the average a pod may be given."""


def choose(pods: Sequence[PodInfo], key: str, load: Mapping[str, int]) -> PodInfo:
    """The pod for context `key`. `load` counts the active builds by pod name, absent is 0. `pods` must not be empty.

    A pod that comes or goes moves only the contexts that hash to it.
    """
    total = sum(load.get(pod.name, 0) for pod in pods)
    capacity = math.ceil(_BOUND * (total + 1) / len(pods))
    return next(pod for pod in preference(pods, key) if load.get(pod.name, 0) < capacity)


def preference(pods: Sequence[PodInfo], key: str) -> tuple[PodInfo, ...]:
    """All `pods` in the order in which context `key` wants them (rendezvous hashing), whatever their load."""
    return tuple(sorted(pods, key=lambda pod: _weight(key, pod.name), reverse=True))


def _weight(key: str, pod: str) -> bytes:
    return hashlib.sha256(f"{key}\0{pod}".encode()).digest()
