"""FakeKubeApi: enough of an API server to test a client against: objects in memory, watches, refusals on demand, exec.

    async with open_fake_kube_api() as api:
        api.add(PODS, {"metadata": {"name": "x", "namespace": "default"}})
        async with open_client(api.connection()) as client: ...

It keeps no schema: any resource path works. Labels are matched (`a=b,c=d`, `a`), of field selectors only metadata.name, status.phase,
spec.unschedulable=false and involvedObject.*; others are an error. Server-side apply knows one owner for each key of the top-level
mappings (data, spec, ...), of labels and of annotations.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from kubectl_build.cluster.client import Resource
from kubectl_build.cluster.config import Connection
from kubectl_build.model.json import JsonObject
from tests.fakes.kube_exec import ExecHandler, serve_exec

Key = tuple[str, str, str]
"""Resource (plural.group), namespace (empty for none), name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    body: JsonObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Answer requests that `matches` with a Status of `code` (or `raw` as it is) instead, `times` times (None: always)."""

    matches: Callable[[Request], bool]
    code: int
    reason: str = ""
    message: str = "as the test asked"
    details: JsonObject = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    times: int | None = None


class StatusError(Exception):
    """Ends the handling of a request with a Status object."""

    def __init__(self, code: int, reason: str, message: str, details: JsonObject | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}


class FakeKubeApi:
    """The server's state; made by `open_fake_kube_api`. Tests read `requests`, add objects and faults, and set `exec_handler`."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[Key, JsonObject] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.token: str | None = None
        """When set, requests without it as bearer token get 401."""
        self.allowed: Callable[[JsonObject], bool] = lambda attributes: True
        """Answers SelfSubjectAccessReviews from their resourceAttributes."""
        self.namespaces: set[str] | None = None
        """When set, creating in any other namespace is 404."""
        self.knows_host_users = True
        """When false, `hostUsers` is left out of pods and templates, as by an API server that has the feature switched off."""
        self.exec_handler: ExecHandler | None = None
        self.exec_protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
        self.compacted_version = 0
        """Watches from an older version are 410."""
        self.watches_opened = 0
        self._versions = itertools.count(100)
        self._version = 100
        self._history: list[tuple[int, str, Key, JsonObject]] = []
        self._changed = asyncio.Event()
        self._watch_generation = 0
        self._fault_uses: dict[int, int] = {}

    def connection(self, **changes: Any) -> Connection:
        """A Connection to this server without credentials, changed as given."""
        return Connection(**{"server": self.url, "namespace": "default", "context_name": "fake", "user_name": "tester"} | changes)

    def find(self, resource: Resource, name: str, namespace: str = "default") -> JsonObject | None:
        """The stored object, or None."""
        return self.objects.get((resource.qualified, namespace if resource.namespaced else "", name))

    def add(self, resource: Resource, obj: JsonObject) -> JsonObject:
        """Store or replace an object without a request; watches see it. Returns what is stored."""
        obj = copy.deepcopy(obj)
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        metadata = obj.setdefault("metadata", {})
        namespace = metadata.setdefault("namespace", "default") if resource.namespaced else ""
        return self._store((resource.qualified, namespace, metadata["name"]), obj)

    def remove(self, resource: Resource, name: str, namespace: str = "default") -> None:
        """Delete an object without a request; watches see it."""
        self._drop((resource.qualified, namespace if resource.namespaced else "", name))

    def end_watches(self) -> None:
        """End every watch that is open, as an API server does after a while."""
        self._watch_generation += 1
        self._wake()

    def fail(self, method: str, fragment: str, code: int, **more: Any) -> None:
        """Add a Fault for requests of `method` ("*" for any) whose path contains `fragment`."""
        self.faults.append(Fault(matches=lambda r: method in ("*", r.method) and fragment in r.path, code=code, **more))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        data = await request.read()
        try:
            body = json.loads(data) if data else None
        except ValueError:
            body = None
        seen = Request(
            method=request.method, path=request.path, query=dict(request.query), headers=dict(request.headers), body=copy.deepcopy(body)
        )
        self.requests.append(seen)
        fault = self._fault(seen)
        if fault is not None:
            if fault.raw is not None:
                return web.Response(status=fault.code, body=fault.raw, headers=fault.headers)
            return _status(fault.code, fault.reason, fault.message, fault.details, fault.headers)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.4-fake"})
        try:
            return await self._route(request, body)
        except StatusError as exc:
            return _status(exc.code, exc.reason, exc.message, exc.details)

    def _fault(self, request: Request) -> Fault | None:
        for fault in self.faults:
            used = self._fault_uses.get(id(fault), 0)
            if fault.matches(request) and (fault.times is None or used < fault.times):
                self._fault_uses[id(fault)] = used + 1
                return fault
        return None

    async def _route(self, request: web.BaseRequest, body: Any) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[0] == "api" and len(parts) >= 3:
            group, rest = "", parts[2:]
        elif parts[0] == "apis" and len(parts) >= 4:
            group, rest = parts[1], parts[3:]
        else:
            return web.Response(status=404, text="404 page not found")
        namespace = ""
        if rest[0] == "namespaces" and len(rest) >= 3:
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource = (*rest, "", "")[:3]
        kind = f"{plural}.{group}" if group else plural
        if subresource == "exec":
            return await self._exec(request, (kind, namespace, name))
        if subresource == "log":
            stored = self._get((kind, namespace, name))
            return web.Response(text=str((stored.get("fake") or {}).get("log", "")))
        match request.method:
            case "GET" if name:
                return web.json_response(self._get((kind, namespace, name)))
            case "GET" if request.query.get("watch") in ("1", "true"):
                return await self._watch(request, kind, namespace)
            case "GET":
                return self._list(request, kind, namespace)
            case "POST":
                return self._create(request, kind, namespace, body)
            case "PATCH":
                return self._patch(request, (kind, namespace, name), body)
            case "DELETE":
                return self._delete((kind, namespace, name), body or {})
        return _status(405, "MethodNotAllowed", "the method is not allowed")

    def _get(self, key: Key) -> JsonObject:
        found = self.objects.get(key)
        if found is None:
            raise StatusError(404, "NotFound", f'{key[0]} "{key[2]}" not found', {"name": key[2], "kind": key[0].split(".")[0]})
        return found

    def _list(self, request: web.BaseRequest, kind: str, namespace: str) -> web.Response:
        found = self._matching(request, kind, namespace)
        metadata: JsonObject = {"resourceVersion": str(self._version)}
        limit = int(request.query.get("limit", "0"))
        start = int(request.query.get("continue", "0"))
        if limit and start + limit < len(found):
            metadata["continue"] = str(start + limit)
        items = found[start : start + limit] if limit else found
        return web.json_response({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})

    def _matching(self, request: web.BaseRequest, kind: str, namespace: str) -> list[JsonObject]:
        of_kind = [obj for key, obj in sorted(self.objects.items()) if key[0] == kind and namespace in ("", key[1])]
        return [obj for obj in of_kind if _selected(request, obj)]

    def _create(self, request: web.BaseRequest, kind: str, namespace: str, body: JsonObject) -> web.Response:
        if kind == "selfsubjectaccessreviews.authorization.k8s.io":
            body["status"] = {"allowed": self.allowed(body["spec"]["resourceAttributes"])}
            return web.json_response(body, status=201)
        self._check_namespace(namespace)
        metadata = body.setdefault("metadata", {})
        if "name" not in metadata:
            if "generateName" not in metadata:
                raise StatusError(422, "Invalid", "name or generateName is required")
            metadata["name"] = f"{metadata['generateName']}{next(self._versions)}"
        key = (kind, namespace, metadata["name"])
        if key in self.objects:
            raise StatusError(409, "AlreadyExists", f'{kind} "{key[2]}" already exists', {"name": key[2], "kind": kind})
        if namespace:
            metadata["namespace"] = namespace
        if not self.knows_host_users:
            spec = body.get("spec") or {}
            ((spec.get("template") or {}).get("spec") or spec).pop("hostUsers", None)
        return web.json_response(body if _dry(request) else self._store(key, body), status=201)

    def _patch(self, request: web.BaseRequest, key: Key, body: JsonObject) -> web.Response:
        old = self.objects.get(key)
        if "apply" in request.content_type:
            self._check_namespace(key[1])
            self._check_version(key, old, body)
            owner = request.query["fieldManager"]
            new = _applied(old, body, owner, force=request.query.get("force") == "true")
            new["metadata"] |= {"name": key[2]} | ({"namespace": key[1]} if key[1] else {})
            return web.json_response(new if _dry(request) else self._store(key, new), status=200 if old else 201)
        new = _merged(self._get(key), body)
        self._check_version(key, old, body)
        return web.json_response(new if _dry(request) else self._store(key, new))

    def _delete(self, key: Key, options: JsonObject) -> web.Response:
        found = self._get(key)
        uid = (options.get("preconditions") or {}).get("uid")
        if uid and uid != found["metadata"]["uid"]:
            raise StatusError(409, "Conflict", "the UID in the precondition does not match")
        self._drop(key)
        return web.json_response(found)

    async def _watch(self, request: web.BaseRequest, kind: str, namespace: str) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion") or "0")
        if since and since < self.compacted_version:
            raise StatusError(410, "Expired", f"too old resource version: {since}")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        generation = self._watch_generation
        self.watches_opened += 1
        sent = since
        if not since:
            sent = self._version
            for obj in self._matching(request, kind, namespace):
                await _write_event(response, "ADDED", obj)
        while self._watch_generation == generation:
            changed, upto = self._changed, self._version
            for version, change, key, obj in list(self._history):
                if version > sent and key[0] == kind and namespace in ("", key[1]) and _selected(request, obj):
                    await _write_event(response, change, obj)
            sent = max(sent, upto)
            await changed.wait()
        return response

    async def _exec(self, request: web.BaseRequest, key: Key) -> web.StreamResponse:
        self._get(key)
        if self.exec_handler is None:
            raise StatusError(400, "BadRequest", "the test set no exec_handler")
        return await serve_exec(request, self.exec_handler, self.exec_protocols)

    def _check_namespace(self, namespace: str) -> None:
        if namespace and self.namespaces is not None and namespace not in self.namespaces:
            raise StatusError(404, "NotFound", f'namespaces "{namespace}" not found', {"name": namespace, "kind": "namespaces"})

    def _check_version(self, key: Key, old: JsonObject | None, body: JsonObject) -> None:
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if wanted and (old is None or wanted != old["metadata"]["resourceVersion"]):
            raise StatusError(409, "Conflict", f'operation cannot be fulfilled on {key[0]} "{key[2]}": the object has been modified')

    def _store(self, key: Key, obj: JsonObject) -> JsonObject:
        obj = copy.deepcopy(obj)
        self._version = next(self._versions)
        metadata = obj.setdefault("metadata", {})
        old = self.objects.get(key)
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.objects[key] = obj
        self._history.append((self._version, "MODIFIED" if old else "ADDED", key, copy.deepcopy(obj)))
        self._wake()
        return obj

    def _drop(self, key: Key) -> None:
        obj = self.objects.pop(key)
        self._version = next(self._versions)
        self._history.append((self._version, "DELETED", key, obj))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@asynccontextmanager
async def open_fake_kube_api(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeKubeApi]:
    """Serve on a loopback port, with `tls` over https."""
    api = FakeKubeApi()
    server = web.Server(api.handle, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    api.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield api
    finally:
        api.end_watches()
        await runner.cleanup()


async def _write_event(response: web.StreamResponse, kind: str, obj: JsonObject) -> None:
    await response.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")


def _status(code: int, reason: str, message: str, details: JsonObject | None = None, headers: dict[str, str] | None = None) -> web.Response:
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response(document | {"details": details or {}}, status=code, headers=headers)


def _dry(request: web.BaseRequest) -> bool:
    return request.query.get("dryRun") == "All"


def _selected(request: web.BaseRequest, obj: JsonObject) -> bool:
    labels = obj["metadata"].get("labels") or {}
    for term in filter(None, request.query.get("labelSelector", "").split(",")):
        key, equals, value = term.partition("=")
        if key.endswith("!"):
            if labels.get(key[:-1]) == value:
                return False
            continue
        if (labels.get(key) != value) if equals else (key not in labels):
            return False
    for term in filter(None, request.query.get("fieldSelector", "").split(",")):
        match term.split("="):
            case ["metadata.name", name]:
                chosen = obj["metadata"]["name"] == name
            case ["spec.unschedulable", "false"]:
                chosen = not (obj.get("spec") or {}).get("unschedulable")
            case ["status.phase", phase]:
                chosen = (obj.get("status") or {}).get("phase") == phase
            case [field_name, value] if field_name.startswith("involvedObject."):
                chosen = (obj.get("involvedObject") or {}).get(field_name.removeprefix("involvedObject.")) == value
            case _:
                raise StatusError(400, "BadRequest", f"the fake knows no field selector {term}")
        if not chosen:
            return False
    return True


def _merged(old: JsonObject, patch: JsonObject) -> JsonObject:
    new = copy.deepcopy(old)
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict):
            inner = new.get(key)
            new[key] = _merged(inner if isinstance(inner, dict) else {}, value)
        else:
            new[key] = value
    return new


def _owned(obj: JsonObject) -> dict[tuple[str, ...], Any]:
    fields: dict[tuple[str, ...], Any] = {}
    for key, value in obj.items():
        if key in ("apiVersion", "kind"):
            continue
        if key == "metadata":
            for part in ("labels", "annotations"):
                fields |= {(key, part, name): item for name, item in (value.get(part) or {}).items()}
        elif isinstance(value, dict):
            fields |= {(key, name): item for name, item in value.items()}
        else:
            fields[(key,)] = value
    return fields


def _applied(old: JsonObject | None, body: JsonObject, owner: str, *, force: bool) -> JsonObject:
    new = copy.deepcopy(old) if old else {"apiVersion": body.get("apiVersion"), "kind": body.get("kind"), "metadata": {}}
    owners: dict[str, str] = new["metadata"].setdefault("fakeOwners", {})
    wanted = _owned(body)
    present = _owned(new)
    for path, value in wanted.items():
        other = owners.get("/".join(path), owner)
        if other != owner and present.get(path) != value and not force:
            raise StatusError(409, "Conflict", f'Apply failed with 1 conflict: conflict with "{other}": .{".".join(path)}')
    for path in [path for path in present if owners.get("/".join(path)) == owner and path not in wanted]:
        _at(new, path[:-1]).pop(path[-1], None)
        owners.pop("/".join(path), None)
    for path, value in wanted.items():
        _at(new, path[:-1])[path[-1]] = copy.deepcopy(value)
        owners["/".join(path)] = owner
    if "ownerReferences" in (body.get("metadata") or {}):
        new["metadata"]["ownerReferences"] = copy.deepcopy(body["metadata"]["ownerReferences"])
    return new


def _at(obj: JsonObject, path: tuple[str, ...]) -> JsonObject:
    for part in path:
        obj = obj.setdefault(part, {})
    return obj
