"""The verbs of the Kubernetes API on plain dicts.

Objects are JSON as the server sends it; there are no generated models. aiohttp is imported when a client is opened, not before.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kubectl_build.cluster.answers import Action, status_error
from kubectl_build.cluster.config import Connection
from kubectl_build.cluster.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    RESOURCEQUOTAS,
    ROLEBINDINGS,
    ROLES,
    SECRETS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SERVICEACCOUNTS,
    SERVICES,
    STATEFULSETS,
    Resource,
)
from kubectl_build.errors import ApiUnreachable
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.values import dataclass

if TYPE_CHECKING:
    from kubectl_build.cluster.http import ApiTransport, Query

__all__ = [
    "CLUSTERROLEBINDINGS",
    "CLUSTERROLES",
    "CONFIGMAPS",
    "EVENTS",
    "FIELD_MANAGER",
    "LEASES",
    "NAMESPACES",
    "NODES",
    "PERSISTENTVOLUMECLAIMS",
    "PODS",
    "RESOURCEQUOTAS",
    "ROLEBINDINGS",
    "ROLES",
    "SECRETS",
    "SELF_SUBJECT_ACCESS_REVIEWS",
    "SERVICEACCOUNTS",
    "SERVICES",
    "STATEFULSETS",
    "KubeClient",
    "ObjectList",
    "Resource",
    "WatchEvent",
    "open_client",
]

FIELD_MANAGER = "kubectl-build"

Objects = list[JsonObject]

_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A list's objects, and the version from which a watch goes on without a gap."""

    items: Objects
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED or DELETED; `object` is as it is now, or was last."""

    type: str
    object: JsonObject


@asynccontextmanager
async def open_client(connection: Connection) -> AsyncIterator[KubeClient]:
    """Make a client; nothing is sent yet. At the end all its connections, watches and exec streams are closed."""
    from kubectl_build.cluster.http import open_transport

    async with open_transport(connection) as transport:
        yield KubeClient(connection, transport)


class KubeClient:
    """One user's view of one cluster. `namespace=None` means the client's own namespace; ignored for resources without namespaces.

    Every method raises ApiError subclasses for the server's refusals, ApiUnreachable when there is no answer, and ConfigError when the
    credentials cannot be had. May be used by many tasks at once.
    """

    def __init__(self, connection: Connection, transport: ApiTransport) -> None:
        self.namespace = connection.namespace
        self.context_name = connection.context_name
        self.server = connection.server
        self.user_name = connection.user_name
        self.transport = transport

    @property
    def server_time(self) -> datetime | None:
        """The API server's clock when it gave its newest answer, in whole seconds; None before the first, or if it said none."""
        return self.transport.server_time

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> JsonObject:
        """Return one object. Raises NotFound."""
        return await self._call("GET", "get", resource, name, namespace)

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        all_namespaces: bool = False,
        cached: bool = False,
    ) -> ObjectList:
        """Return all objects that match, in one answer. They carry no kind of their own.

        What is `cached` may be some seconds old: it comes from the server's memory, where a selector that fits little is answered at once.
        """
        query = [*_selectors(label_selector, field_selector), *_from_memory(cached)]
        document = await self._call("GET", "list", resource, "", namespace, query=query, all_namespaces=all_namespaces)
        return ObjectList(document.get("items") or [], _resource_version(document))

    async def metadata(self, resource: Resource, *, label_selector: str = "", field_selector: str = "") -> Objects:
        """Return the metadata alone of the objects of all namespaces that match, as `list` does what is cached: some 500 bytes each."""
        query = [*_selectors(label_selector, field_selector), *_from_memory(True)]
        document = await self._call("GET", "list", resource, "", None, query=query, all_namespaces=True, accept=_METADATA)
        return document.get("items") or []

    async def pages(
        self, resource: Resource, *, label_selector: str = "", field_selector: str = "", page_size: int = 500
    ) -> AsyncGenerator[Objects, None]:
        """Yield the objects of all namespaces page by page, so that a caller that has enough can stop.

        Raises Gone when the caller waits for minutes between two pages.
        """
        token = ""
        while True:
            query = [*_selectors(label_selector, field_selector), ("limit", str(page_size))]
            query += [("continue", token)] if token else []
            document = await self._call("GET", "list", resource, "", None, query=query, all_namespaces=True)
            yield document.get("items") or []
            token = str((document.get("metadata") or {}).get("continue") or "")
            if not token:
                return

    async def create(self, resource: Resource, obj: JsonObject, *, namespace: str | None = None, dry_run: bool = False) -> JsonObject:
        """Create and return what the server made of it. Raises AlreadyExists."""
        query = [("fieldManager", FIELD_MANAGER), *_dry_run(dry_run)]
        return await self._call("POST", "create", resource, "", namespace, query=query, body=obj, shown=_name(obj))

    async def apply(
        self,
        resource: Resource,
        obj: JsonObject,
        *,
        namespace: str | None = None,
        field_manager: str = FIELD_MANAGER,
        force: bool = False,
        dry_run: bool = False,
    ) -> JsonObject:
        """Server-side apply: create, or make the fields given so.

        Raises Conflict for another manager's fields, or for a resourceVersion in `obj` that is not the current one.
        """
        query = [("fieldManager", field_manager), ("force", "true" if force else "false"), *_dry_run(dry_run)]
        return await self._call(
            "PATCH", "patch", resource, _name(obj), namespace, query=query, body=obj, content_type="application/apply-patch+yaml"
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: JsonObject,
        *,
        namespace: str | None = None,
        field_manager: str = FIELD_MANAGER,
        subresource: str = "",
    ) -> JsonObject:
        """Change an object, or a subresource of it, by a JSON merge patch (null removes a field)."""
        query = [("fieldManager", field_manager)]
        kind = "application/merge-patch+json"
        return await self._call(
            "PATCH", "patch", resource, name, namespace, query=query, body=patch, content_type=kind, subresource=subresource
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        propagation: str = "Background",
        uid: str | None = None,
        grace_period: int | None = None,
    ) -> None:
        """Ask for an object's end. `uid` makes sure that it is still the one that was read (Conflict if not); `grace_period` is seconds."""
        options: JsonObject = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        await self._call("DELETE", "delete", resource, name, namespace, body=options)

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        all_namespaces: bool = False,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield changes after `resource_version`; without one first every object that exists, as ADDED.

        Ends when the server or the network ends it (some 30 to 60 minutes), and raises Gone when the version is too old: list again then.
        Close it with contextlib.aclosing.
        """
        where = None if all_namespaces else namespace or self.namespace
        action = Action(verb="watch", resource=resource, namespace=where)
        query = [*_selectors(label_selector, field_selector), ("watch", "true")]
        query += [("resourceVersion", resource_version)] if resource_version else []
        async with self.transport.stream(resource.path(namespace=where), action=action, query=query) as chunks:
            async for line in _lines(chunks):
                event = self._json(line)
                obj = event.get("object") or {}
                if event.get("type") == "ERROR":
                    code = obj.get("code")
                    raise status_error(code if isinstance(code, int) else 500, obj, action, server=self.server, user=self.user_name)
                if event.get("type") != "BOOKMARK":
                    yield WatchEvent(str(event.get("type")), obj)

    async def logs(self, pod: str, *, namespace: str | None = None, container: str, tail_lines: int, previous: bool = False) -> str:
        """Return the last lines of a container's log, or of its run before (`previous`)."""
        where = namespace or self.namespace
        action = Action(verb="get", resource=PODS, name=pod, namespace=where, subresource="log")
        query = [("container", container), ("tailLines", str(tail_lines)), ("limitBytes", "262144"), ("previous", str(previous).lower())]
        path = PODS.path(namespace=where, name=pod, subresource="log")
        return (await self.transport.request("GET", path, action=action, query=query)).decode(errors="replace")

    async def can_i(self, verb: str, resource: Resource, *, subresource: str = "", name: str = "", namespace: str | None = None) -> bool:
        """Ask whether this user has a right (SelfSubjectAccessReview, which everybody may create)."""
        attributes = {"verb": verb, "group": resource.group, "resource": resource.plural, "subresource": subresource, "name": name}
        if resource.namespaced:
            attributes["namespace"] = namespace or self.namespace
        kind = SELF_SUBJECT_ACCESS_REVIEWS
        review = {"apiVersion": kind.api_version, "kind": kind.kind, "spec": {"resourceAttributes": attributes}}
        answer = await self.create(kind, review)
        return bool((answer.get("status") or {}).get("allowed"))

    async def server_version(self) -> str:
        """Return the API server's version, such as v1.34.4."""
        return str(self._json(await self.transport.request("GET", "/version", action=None)).get("gitVersion") or "")

    async def _call(
        self,
        method: str,
        verb: str,
        resource: Resource,
        name: str,
        namespace: str | None,
        *,
        query: Query = (),
        body: JsonObject | None = None,
        content_type: str = "application/json",
        all_namespaces: bool = False,
        shown: str = "",
        subresource: str = "",
        accept: str = "",
    ) -> JsonObject:
        where = None if all_namespaces or not resource.namespaced else namespace or self.namespace
        action = Action(verb=verb, resource=resource, name=name or shown, namespace=where, subresource=subresource)
        data = json.dumps(body).encode() if body is not None else b""
        path = resource.path(namespace=where, name=name, subresource=subresource)
        answer = await self.transport.request(method, path, action=action, query=query, body=data, content_type=content_type, accept=accept)
        return self._json(answer)

    def _json(self, data: bytes) -> JsonObject:
        try:
            document: Any = parse_json(data)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ApiUnreachable(f"what answers at {self.server} is no Kubernetes API", hint="check the server of the kubeconfig's cluster")
        return document


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    # Not StreamReader.readline: an object of a watch may be longer than any line limit.
    pending: list[bytes] = []
    async for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            line = b"".join([*pending, part])
            pending.clear()
            if line.strip():
                yield line
        if rest:
            pending.append(rest)


def _selectors(label_selector: str, field_selector: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value in (("labelSelector", label_selector), ("fieldSelector", field_selector)) if value]


def _from_memory(cached: bool) -> list[tuple[str, str]]:
    return [("resourceVersion", "0")] if cached else []


def _dry_run(dry_run: bool) -> list[tuple[str, str]]:
    return [("dryRun", "All")] if dry_run else []


def _name(obj: JsonObject) -> str:
    return str((obj.get("metadata") or {}).get("name") or "")


def _resource_version(document: JsonObject) -> str:
    return str((document.get("metadata") or {}).get("resourceVersion") or "")
