"""krew and the tool by which its index checks manifests, for tests."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.gobuild import Module

_COMMANDS = "sigs.k8s.io/krew/cmd/"
_KREW = Module(
    name="krew",
    version="v0.4.4",
    packages=(_COMMANDS + "krew", _COMMANDS + "validate-krew-manifest"),
    takes="about 1 minute",
)


def krew() -> Path:
    """The directory with `krew` and `validate-krew-manifest`, built where it is not in the cache. Raises Trouble."""
    return _KREW.build()
