"""All rows, in the order in which they run."""

from __future__ import annotations

from tests.faults import links, pods, registries

FAULTS = (*pods.FAULTS, *links.FAULTS, *registries.FAULTS)
