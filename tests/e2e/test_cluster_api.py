"""The API client and exec against a real API server and kubelet: what the fake server only claims."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from kubectl_build.cluster.authentication import Authentication, Fixed
from kubectl_build.cluster.client import (
    CONFIGMAPS,
    NAMESPACES,
    NODES,
    PODS,
    ROLEBINDINGS,
    ROLES,
    STATEFULSETS,
    KubeClient,
    Resource,
    open_client,
)
from kubectl_build.cluster.config import Connection, resolve
from kubectl_build.cluster.exec import open_exec, run
from kubectl_build.errors import (
    AlreadyExists,
    ApiUnreachable,
    Conflict,
    ConnectionLost,
    DialError,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
)
from kubectl_build.model.json import JsonObject
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.transport.bridge import bridge
from kubectl_build.transport.pod import PodAddress, tcp_dialer
from kubectl_build.transport.sockets import unix_dialer
from tests.fakes.byte_stream import receive_exactly

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

IMAGE = "docker.io/library/busybox:latest"
_MIB = 1024 * 1024


@pytest.fixture(scope="module")
def connection() -> Connection:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: run `make cluster` and `source .cluster/env`")
    return resolve(KubeFlags(), environ=os.environ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(connection: Connection) -> AsyncIterator[KubeClient]:
    """A client in a namespace of its own."""
    namespace = f"kubectl-build-test-{secrets.token_hex(4)}"
    async with open_client(replace(connection, namespace=namespace)) as opened:
        await opened.create(NAMESPACES, {"metadata": {"name": namespace}})
        try:
            yield opened
        finally:
            await opened.delete(NAMESPACES, namespace)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pod(client: KubeClient) -> str:
    """A running pod with a shell in its container `main`."""
    if not (await client.list(NODES)).items:
        pytest.skip("the cluster has no node")
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "3600"]}
    await client.create(PODS, {"metadata": {"name": "shell"}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}})
    async with asyncio.timeout(120), aclosing(client.watch(PODS, field_selector="metadata.name=shell")) as events:
        async for event in events:
            if any(status.get("ready") for status in event.object["status"].get("containerStatuses", ())):
                return "shell"
    raise AssertionError("the watch ended before the pod was ready")


def _map(name: str, data: JsonObject | None = None, **metadata: Any) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data or {}}


async def test_verbs_do_what_their_names_say(client: KubeClient) -> None:
    made = await client.create(CONFIGMAPS, _map("verbs", {"a": "1"}, labels={"app": "x"}))
    assert await client.get(CONFIGMAPS, "verbs") == made
    assert [item["metadata"]["name"] for item in (await client.list(CONFIGMAPS, label_selector="app=x")).items] == ["verbs"]
    assert (await client.patch(CONFIGMAPS, "verbs", {"data": {"a": None, "b": "2"}}))["data"] == {"b": "2"}
    with pytest.raises(AlreadyExists):
        await client.create(CONFIGMAPS, _map("verbs"))
    with pytest.raises(Conflict):
        await client.delete(CONFIGMAPS, "verbs", uid="00000000-0000-0000-0000-000000000000")
    await client.delete(CONFIGMAPS, "verbs", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound, match=r'configmaps "verbs" in namespace ".*" does not exist'):
        await client.get(CONFIGMAPS, "verbs")


async def test_apply_creates_changes_and_conflicts(client: KubeClient) -> None:
    await client.apply(CONFIGMAPS, _map("applied", {"a": "1", "b": "1"}))
    second = await client.apply(CONFIGMAPS, _map("applied", {"a": "2"}))
    assert second["data"] == {"a": "2"}
    with pytest.raises(Conflict):
        await client.apply(CONFIGMAPS, _map("applied", {"a": "3"}), field_manager="someone")
    assert (await client.apply(CONFIGMAPS, _map("applied", {"a": "3"}), field_manager="someone", force=True))["data"] == {"a": "3"}
    with pytest.raises(Conflict):
        await client.apply(CONFIGMAPS, _map("applied", {"c": "1"}, resourceVersion=second["metadata"]["resourceVersion"]))


async def test_dry_run_judges_and_keeps_nothing(client: KubeClient) -> None:
    spec = {"containers": [{"name": "c", "image": IMAGE}]}
    await client.create(PODS, {"metadata": {"name": "dry"}, "spec": spec}, dry_run=True)
    with pytest.raises(NotFound):
        await client.get(PODS, "dry")
    with pytest.raises(Invalid, match="cannot create pods"):
        await client.create(PODS, {"metadata": {"name": "Not Valid"}, "spec": spec}, dry_run=True)


async def test_watch_goes_on_from_a_list(client: KubeClient) -> None:
    version = (await client.list(CONFIGMAPS, label_selector="w")).resource_version
    await client.create(CONFIGMAPS, _map("watched", {"k": "x" * 300_000}, labels={"w": ""}))
    await client.delete(CONFIGMAPS, "watched")
    seen = []
    async with asyncio.timeout(20), aclosing(client.watch(CONFIGMAPS, label_selector="w", resource_version=version)) as events:
        async for event in events:
            seen.append((event.type, event.object["metadata"]["name"], len(event.object["data"]["k"])))
            if len(seen) == 2:
                break

    assert seen == [("ADDED", "watched", 300_000), ("DELETED", "watched", 300_000)]


async def test_pages_give_every_object_once(client: KubeClient) -> None:
    whole = [item["metadata"]["name"] for item in (await client.list(Resource("", "v1", "namespaces", "Namespace", False))).items]
    paged = [item["metadata"]["name"] async for page in client.pages(NAMESPACES, page_size=2) for item in page]

    assert paged == whole


async def test_refusals_of_the_real_server_are_the_right_errors(client: KubeClient, connection: Connection) -> None:
    with pytest.raises(NotFound) as caught:
        await client.create(CONFIGMAPS, _map("x"), namespace="no-such-namespace")
    assert caught.value.message == 'namespace "no-such-namespace" does not exist'
    with pytest.raises(NotFound, match=r"does not serve things\.example/v1 widgets"):
        await client.list(Resource("things.example", "v1", "widgets", "Widget"))
    with pytest.raises(Invalid):
        await client.create(STATEFULSETS, {"metadata": {"name": "x"}, "spec": {}})
    nobody = replace(connection, authenticator=Fixed(Authentication(authorization="Bearer not-a-token")))
    async with open_client(nobody) as stranger:
        with pytest.raises(Unauthorized, match="does not accept the credentials"):
            await stranger.list(PODS)
    wrong = replace(connection, tls=replace(connection.tls, server_name="wrong.example", insecure=False))
    async with open_client(wrong) as misled:
        with pytest.raises(ApiUnreachable, match="is not trusted"):
            await misled.list(PODS)


async def test_rights_are_asked_and_missing_ones_are_named(client: KubeClient, connection: Connection) -> None:
    assert await client.can_i("create", PODS, subresource="exec")
    jane = replace(connection, namespace=client.namespace, impersonation=(("Impersonate-User", "jane"),))
    async with open_client(jane) as limited:
        assert not await limited.can_i("create", PODS, subresource="exec")
        with pytest.raises(Forbidden, match=r'not allowed to create configmaps "x" in namespace ".*": .*User "jane" cannot create'):
            await limited.create(CONFIGMAPS, _map("x"))
    assert (await client.server_version()).startswith("v1.")


async def test_exec_denied_by_rbac_names_the_right(client: KubeClient, connection: Connection, pod: str) -> None:
    """A user who may see pods and not exec."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    await client.create(ROLES, {"metadata": {"name": "look"}, "rules": [rule]})
    subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": "look", "apiGroup": "rbac.authorization.k8s.io"}
    await client.create(ROLEBINDINGS, {"metadata": {"name": "look"}, "subjects": [subject], "roleRef": role})
    jane = replace(connection, namespace=client.namespace, impersonation=(("Impersonate-User", "jane"),))
    async with open_client(jane) as limited:
        async with asyncio.timeout(10):
            while not await limited.can_i("list", PODS):  # noqa: ASYNC110  RBAC takes a moment to see the binding
                await asyncio.sleep(0.1)
        assert (await limited.get(PODS, pod))["metadata"]["name"] == pod
        with pytest.raises(Forbidden) as caught:
            await open_exec(limited, pod=pod, container="main", command=["true"])

    assert 'User "jane" cannot' in caught.value.message
    assert "pods/exec" in caught.value.message
    assert "get and create on pods/exec" in str(caught.value.hint)


async def test_exec_returns_codes_streams_and_words(client: KubeClient, pod: str) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    assert await run(client, pod=pod, container="main", command=command, deadline=20) == (3, b"out\n", b"err\n")
    with pytest.raises(DialError, match="no-such-command"):
        await run(client, pod=pod, container="main", command=["no-such-command"], deadline=20)
    with pytest.raises(DialError, match="nobody"):
        await run(client, pod=pod, container="nobody", command=["true"], deadline=20)
    with pytest.raises(DialError, match=r'pods/exec "gone" in namespace ".*" does not exist'):
        await run(client, pod="gone", container="main", command=["true"], deadline=20)


async def test_exec_cat_brings_back_every_byte(client: KubeClient, pod: str) -> None:
    size = 64 * _MIB
    sent, received = hashlib.sha256(), hashlib.sha256()
    stream = await open_exec(client, pod=pod, container="main", command=["cat"])

    async def send() -> None:
        left = size
        for length in (1, 125, 126, 65535, 65536, 3 * _MIB):
            await stream.send(_noted(sent, os.urandom(length)))
            left -= length
        while left:
            await stream.send(_noted(sent, os.urandom(min(left, 256 * 1024))))
            left -= min(left, 256 * 1024)
        await stream.send_eof()

    total = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        while data := await stream.receive():
            received.update(data)
            total += len(data)
    await stream.aclose()

    assert total == size
    assert sent.digest() == received.digest()


async def test_exec_for_bulk_brings_back_every_byte_and_ends_the_command_when_it_is_closed(client: KubeClient, pod: str) -> None:
    stream = await open_exec(client, pod=pod, container="main", command=["cat"], bulk=True)
    sent = os.urandom(8 * _MIB)
    received = bytearray()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(stream.send(sent))
        while len(received) < len(sent):
            received += await stream.receive()
    assert received == sent
    await stream.aclose()

    ended = "while pidof cat; do sleep 0.1; done"
    assert (await run(client, pod=pod, container="main", command=["sh", "-c", ended], deadline=20))[0] == 0


async def test_exec_for_bulk_tells_what_cannot_be_started(client: KubeClient, pod: str) -> None:
    with pytest.raises(DialError, match="nobody"):
        await open_exec(client, pod=pod, container="nobody", command=["true"], bulk=True)
    stream = await open_exec(client, pod=pod, container="main", command=["no-such-command"], bulk=True)
    with pytest.raises(DialError, match="no-such-command"):
        await stream.receive()
    await stream.aclose()


def _noted(digest: Any, data: bytes) -> bytes:
    digest.update(data)
    return data


async def test_exec_reader_that_sleeps_stops_the_sender(client: KubeClient, pod: str) -> None:
    stream = await open_exec(client, pod=pod, container="main", command=["sh", "-c", "sleep 2; cat > /dev/null; echo done"])

    async def send() -> None:
        for _ in range(64):
            await stream.send(bytes(_MIB))
        await stream.send_eof()

    sending = asyncio.create_task(send())
    done, _ = await asyncio.wait([sending], timeout=1)
    assert not done, "64 MiB went somewhere although the command did not read"
    await sending
    assert await stream.receive() == b"done\n"
    await stream.aclose()


async def test_exec_of_a_command_that_is_killed_is_lost(client: KubeClient, pod: str) -> None:
    stream = await open_exec(client, pod=pod, container="main", command=["sh", "-c", "echo $$; read line"])
    number = (await stream.receive()).decode().strip()
    assert await run(client, pod=pod, container="main", command=["kill", "-9", number], deadline=20) == (0, b"", b"")
    with pytest.raises(ConnectionLost, match="exit code 137"):
        await stream.receive()
    await stream.aclose()


async def test_tcp_dialer_and_bridge_reach_a_server_in_the_pod(client: KubeClient, pod: str) -> None:
    listener = await open_exec(client, pod=pod, container="main", command=["nc", "-l", "-p", "7777", "-e", "cat"])
    address = PodAddress(namespace=client.namespace, name=pod, container="main")
    dial = tcp_dialer(client, address, "127.0.0.1", 7777)
    listening = "until netstat -ltn | grep -q :7777; do sleep 0.1; done"
    assert (await run(client, pod=pod, container="main", command=["sh", "-c", listening], deadline=20))[0] == 0
    async with asyncio.timeout(30), bridge(dial) as it:
        blob = os.urandom(2 * _MIB)
        near = await unix_dialer(it.target.removeprefix("unix:"))()
        async with asyncio.TaskGroup() as group:
            group.create_task(near.send(blob))
            assert await receive_exactly(near, len(blob)) == blob
        await near.aclose()
    await listener.aclose()

    refused = await tcp_dialer(client, address, "127.0.0.1", 9)()
    with pytest.raises(DialError, match="onnection refused"):
        await refused.receive()
    await refused.aclose()
