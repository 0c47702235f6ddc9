"""Who builds where: a Lease for each build and pool, beside the daemon's own list of builds, which is the truth about load.

A Lease belongs to its pod and goes with it. Nothing depends on it: where it may not be written, a build goes on without.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import platform
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from datetime import UTC, datetime
from typing import Self

from kubectl_build.builder import names
from kubectl_build.builder.state import PodInfo, read_time
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import LEASES
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ApiError, ApiUnreachable, Conflict, Forbidden, KubectlBuildError, NotFound
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

LEASE_SECONDS = 60
"""How long a Lease counts without being renewed."""

_RENEW_SECONDS = 20.0
_TRY_SECONDS = 2.0
"""For one attempt to delete a Lease: a connection that has frozen is replaced by the next."""
_AGAIN_SECONDS = 0.5
_CLOCKS_SECONDS = 15.0
"""How far the clocks of one cluster's API servers may be apart."""


_SHOWN = 100
"""Characters of another user's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One build on one pod as its Lease tells it. `renewed` is the holder's own time, to be compared for equality only.

    `written` is when the API server last stored a change of it, None where it does not say.
    """

    name: str
    uid: str
    namespace: str
    builder: str
    pod: str
    holder: str
    platforms: str
    context: str
    since: datetime | None
    renewed: str
    seconds: float
    written: datetime | None

    def __str__(self) -> str:
        details = [self.platforms, f"since {self.since.astimezone(UTC):%H:%M} UTC" if self.since else "", self.context]
        shown = ", ".join(filter(None, details))
        return f"{self.holder} ({shown})" if shown else self.holder


@dataclass(slots=True)
class Sightings:
    """What one client has seen of Leases: a dead one is known by a renewal that stays the same for its duration.

    That is how long this client has watched, or what the API server says of its own last write by its own clock; the clocks of two machines
    are never compared.
    """

    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)

    def dead(self, leases: Iterable[Lease], *, now: float, server_time: datetime | None) -> tuple[Lease, ...]:
        """Those of `leases` whose holder is gone. `now` is a clock of this process that never goes back, in seconds."""
        return tuple(lease for lease in leases if self._unchanged(lease, now, server_time) > lease.seconds)

    def _unchanged(self, lease: Lease, now: float, server_time: datetime | None) -> float:
        renewed, since = self._seen.setdefault(lease.uid, (lease.renewed, now))
        if renewed != lease.renewed:
            self._seen[lease.uid] = lease.renewed, now
            since = now
        said = 0.0
        if server_time is not None and lease.written is not None:
            said = (server_time - lease.written).total_seconds() - _CLOCKS_SECONDS
        return max(now - since, said)


def parse_lease(item: JsonObject) -> Lease:
    """Read a Lease object; what somebody has taken out of it is empty."""
    metadata, spec = item["metadata"], item.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    written = [read_time(entry.get("time")) for entry in metadata.get("managedFields") or ()]
    return Lease(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        namespace=metadata.get("namespace", ""),
        builder=(metadata.get("labels") or {}).get(names.LABEL_INSTANCE, ""),
        pod=annotations.get(names.ANNOTATION_POD, ""),
        holder=_shown(spec.get("holderIdentity")) or "somebody",
        platforms=_shown(annotations.get(names.ANNOTATION_BUILD_PLATFORMS)),
        context=_shown(annotations.get(names.ANNOTATION_CONTEXT)),
        since=read_time(metadata.get("creationTimestamp")),
        renewed=str(spec.get("renewTime") or ""),
        seconds=float(spec.get("leaseDurationSeconds") or LEASE_SECONDS),
        written=max(filter(None, written), default=None),
    )


async def list_leases(client: KubeClient, builder: str = "", *, all_namespaces: bool = False) -> tuple[Lease, ...]:
    """The Leases of builds on `builder`, or on all. Raises Forbidden, ApiError, ApiUnreachable."""
    found = await client.list(LEASES, label_selector=names.selector(builder), all_namespaces=all_namespaces)
    return tuple(parse_lease(item) for item in found.items)


async def living_leases(client: KubeClient, builder: str, sightings: Sightings | None = None) -> tuple[Lease, ...]:
    """The Leases of builds that run on `builder`, as far as they can be told; none where they may not be listed.

    `sightings` are of earlier calls. Raises ApiError, ApiUnreachable.
    """
    try:
        found = await list_leases(client, builder)
    except Forbidden:
        return ()
    seen = Sightings() if sightings is None else sightings
    dead = seen.dead(found, now=asyncio.get_running_loop().time(), server_time=client.server_time)
    return tuple(lease for lease in found if lease not in dead)


async def delete_dead(client: KubeClient, leases: Sequence[Lease], sightings: Sightings) -> tuple[Lease, ...]:
    """Delete those of `leases`, just listed, whose holder is gone; return the others. Raises ApiError, ApiUnreachable."""
    dead = sightings.dead(leases, now=asyncio.get_running_loop().time(), server_time=client.server_time)
    for lease in dead:
        with suppress(NotFound, Conflict):
            await client.delete(LEASES, lease.name, namespace=lease.namespace, uid=lease.uid or None)
    return tuple(lease for lease in leases if lease not in dead)


def holder_identity() -> str:
    """Who builds, for people: the user and the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # an id without a name, as in many containers; no such database on Windows
        user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    return f"{user}@{platform.node() or 'localhost'}"


class Leases:
    """The Leases of one command's builds: made, renewed and deleted beside what they tell of, which waits for none of that.

    Leaving it waits until all are deleted, `deadlines().lease` at most: another try of a build does not wait for a cluster that is away.
    """

    def __init__(self, client: KubeClient, builder: str, emit: Sink) -> None:
        self._client, self._builder, self._emit = client, builder, emit
        self._keepers: dict[asyncio.Task[None], _Keeper] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._keepers:
            return
        try:
            done, late = await asyncio.wait(self._keepers, timeout=deadlines().lease)
            for name in sorted(self._keepers[task].name for task in late):
                text = f"Lease {name} is left: the API server did not delete it in time; another build will"
                self._emit(Note(text=text, level="warning"))
            for task in done:
                task.result()
        finally:
            for task in self._keepers:
                task.cancel()
            await asyncio.wait(self._keepers)

    @contextmanager
    def held(self, pod: PodInfo, *, platforms: Sequence[str], context: str) -> Iterator[None]:
        """Tell by a Lease that this process builds on `pod` while the body runs. `context` is what the build's context is called.

        Never raises an error of the cluster: what is not allowed is one note.
        """
        keeper = _Keeper(self._client, self._builder, pod, ",".join(platforms), context, self._emit)
        self._keepers[asyncio.create_task(keeper.run(), name=f"lease {keeper.name}")] = keeper
        try:
            yield
        finally:
            keeper.end()


class _Keeper:
    """Makes one Lease, renews it, and deletes it after `end`; meanwhile it deletes those of clients that are gone."""

    def __init__(self, client: KubeClient, builder: str, pod: PodInfo, platforms: str, context: str, emit: Sink) -> None:
        self.name = f"{pod.name}-{secrets.token_hex(4)}"
        self._ended = False
        self._keeping: asyncio.Task[None] | None = None
        self._client, self._builder, self._pod, self._emit = client, builder, pod, emit
        self._platforms, self._context = platforms, context
        self._sightings = Sightings()
        self._may_clean = True

    async def run(self) -> None:
        if not await self._create():
            return
        if not self._ended:
            self._keeping = asyncio.create_task(self._keep(), name=f"keep lease {self.name}")
            await asyncio.wait({self._keeping})
            if not self._keeping.cancelled():
                self._keeping.result()
        await self._delete()

    def end(self) -> None:
        """Let it be deleted. What creates it is not cancelled, since what is being made could not be deleted yet."""
        self._ended = True
        if self._keeping is not None:
            self._keeping.cancel()

    async def _keep(self) -> None:
        while True:
            await self._clean()
            await asyncio.sleep(_RENEW_SECONDS)
            if not await self._renew():
                return

    async def _create(self) -> bool:
        try:
            await self._client.create(LEASES, self._document(), namespace=self._pod.namespace)
        except Forbidden:
            self._emit(Note(text="others do not see who builds: you may not create leases"))
            return False
        except KubectlBuildError as error:
            self._emit(Note(text=f"others do not see who builds: {error.message}"))
            return False
        return True

    async def _delete(self) -> None:
        """Ask again and again where the way to the API server is broken: what ended the build may have broken that, too."""
        while True:
            try:
                async with asyncio.timeout(_TRY_SECONDS):
                    await self._client.delete(LEASES, self.name, namespace=self._pod.namespace)
            except Forbidden:
                self._emit(Note(text=f"Lease {self.name} is left until it is out of date: you may not delete leases"))
                return
            except ApiError as error:
                if error.status < 500 and error.status != 429:
                    return  # it is gone with its pod, or by another build
            except (ApiUnreachable, TimeoutError):
                pass
            except KubectlBuildError:
                return  # a login that ran out will not be had now
            else:
                return
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _renew(self) -> bool:
        """Whether to go on. A Lease that somebody took for dead, as of a machine that was suspended, is made anew."""
        try:
            await self._client.patch(LEASES, self.name, {"spec": {"renewTime": _now()}}, namespace=self._pod.namespace)
        except NotFound:
            return await self._create()
        except Forbidden:
            self._emit(Note(text="others do not see who builds: you may not patch leases"))
            return False
        except KubectlBuildError:
            return True  # the next renewal is early enough
        return True

    async def _clean(self) -> None:
        if not self._may_clean:
            return
        try:
            leases = await list_leases(self._client, self._builder)
            await delete_dead(self._client, [lease for lease in leases if lease.name != self.name], self._sightings)
        except Forbidden:
            self._may_clean = False
        except KubectlBuildError:
            return

    def _document(self) -> JsonObject:
        annotations = {
            names.ANNOTATION_POD: self._pod.name,
            names.ANNOTATION_BUILD_PLATFORMS: self._platforms,
            names.ANNOTATION_CONTEXT: self._context,
        }
        now = _now()
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {
                "name": self.name,
                "labels": names.labels(self._builder, self._pod.architecture),
                "annotations": annotations,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": self._pod.name, "uid": self._pod.uid}],
            },
            "spec": {"holderIdentity": holder_identity(), "leaseDurationSeconds": LEASE_SECONDS, "acquireTime": now, "renewTime": now},
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _shown(text: object) -> str:
    """What somebody else wrote, fit for a terminal."""
    return "".join(character for character in str(text or "") if character.isprintable())[:_SHOWN]
