"""All rows, in the order in which they run."""

from __future__ import annotations

from tests.faults import apiserver, builders, clients, contexts, links, narrow, nodes, pods, registries, together

FAULTS = (
    *pods.FAULTS,
    *nodes.FAULTS,
    *links.FAULTS,
    *narrow.FAULTS,
    *apiserver.FAULTS,
    *registries.FAULTS,
    *builders.FAULTS,
    *clients.FAULTS,
    *together.FAULTS,
    *contexts.FAULTS,
)
