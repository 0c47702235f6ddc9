"""All rows, in the order in which they run."""

from __future__ import annotations

from tests.faults import builders, clients, contexts, links, pods, registries, together

FAULTS = (
    *pods.FAULTS,
    *links.FAULTS,
    *registries.FAULTS,
    *builders.FAULTS,
    *clients.FAULTS,
    *together.FAULTS,
    *contexts.FAULTS,
)
