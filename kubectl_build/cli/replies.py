"""Which builder a question goes to, and what becomes of daemons that do not answer it: the same for every command that asks them all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from kubectl_build.cli.connect import connected_to
from kubectl_build.cli.notes import note
from kubectl_build.cli.preference import current_builder
from kubectl_build.daemons import Link
from kubectl_build.errors import ClusterError, UsageError
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.survey import Reply, ask_each, find_members

T = TypeVar("T")


@asynccontextmanager
async def asked_of_all(
    said: str, cluster: KubeFlags, question: Callable[[Link], Awaitable[T]], *, deadline: float, doing: str, connecting: float | None = None
) -> AsyncIterator[tuple[str, tuple[Reply[T], ...]]]:
    """Ask all daemons of the builder `said`, "" for the one that this user prefers, as `ask_each`; they can be connected to in the body.

    Yields the builder's name and the replies. Raises ClusterError for a builder that is not there or does not run, UsageError, and what a
    lone daemon answered.
    """
    async with connected_to(said, cluster) as kube:
        name = said if said or kube is None else await current_builder(None, kube, emit=note, environ=os.environ)
        members = await find_members(name, kube, emit=note)
        replies = await ask_each(members, question, deadline=deadline, doing=doing, connecting=connecting)
        raise_alone(replies)
        yield name, replies


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
