"""Which builder a question goes to, and what becomes of daemons that do not answer it: the same for every command that asks them all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from kubectl_build.cli.notes import note
from kubectl_build.cli.preference import current_builder
from kubectl_build.cluster.client import KubeClient
from kubectl_build.errors import ClusterError, UsageError
from kubectl_build.survey import Reply


async def builder_or_preferred(said: str, kube: KubeClient | None) -> str:
    """The builder that was named, else the one that this user prefers."""
    return said if said or kube is None else await current_builder(None, kube, emit=note, environ=os.environ)


def raise_alone(replies: Sequence[Reply[Any]]) -> None:
    """Raise what a lone daemon answered, and what every one would: that the question itself is wrong."""
    for reply in replies:
        if reply.error is not None and (len(replies) == 1 or isinstance(reply.error, UsageError)):
            raise reply.error


def raise_for_silence(builder: str, replies: Sequence[Reply[Any]]) -> None:
    """Raise ClusterError with the names of those that did not answer."""
    failed = [f"{reply.member.name}: {reply.error.message}" for reply in replies if reply.error]
    if failed:
        message = f"{len(failed)} of {len(replies)} pods did not do what was asked: {'; '.join(failed)}"
        raise ClusterError(message, hint=f"see: kubectl buildkit doctor {builder}")
