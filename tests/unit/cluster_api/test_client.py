from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubectl_build.cluster.authentication import Authentication, Fixed
from kubectl_build.cluster.client import CONFIGMAPS, NODES, PODS, STATEFULSETS, KubeClient, WatchEvent, open_client
from kubectl_build.cluster.exec import open_exec
from kubectl_build.errors import (
    AlreadyExists,
    ApiError,
    ApiUnreachable,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Unauthorized,
)
from kubectl_build.model.json import JsonObject
from tests.fakes.kube_api import FakeKubeApi, open_fake_kube_api
from tests.fakes.kube_exec import cat


@asynccontextmanager
async def _cluster(**changes: Any) -> AsyncIterator[tuple[FakeKubeApi, KubeClient]]:
    async with open_fake_kube_api() as api, open_client(api.connection(**changes)) as client:
        yield api, client


def _map(name: str, data: JsonObject | None = None, **metadata: Any) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data or {}}


async def test_client_creates_reads_lists_patches_and_deletes() -> None:
    async with _cluster() as (api, client):
        made = await client.create(CONFIGMAPS, _map("a", {"k": "v"}, labels={"app": "x"}))
        await client.create(CONFIGMAPS, _map("b"), namespace="other")

        assert await client.get(CONFIGMAPS, "a") == made
        assert [item["metadata"]["name"] for item in (await client.list(CONFIGMAPS)).items] == ["a"]
        assert [item["metadata"]["name"] for item in (await client.list(CONFIGMAPS, all_namespaces=True)).items] == ["a", "b"]
        assert (await client.list(CONFIGMAPS, all_namespaces=True, label_selector="app=y")).items == []
        patched = await client.patch(CONFIGMAPS, "a", {"data": {"k": None, "n": "w"}})
        assert patched["data"] == {"n": "w"}
        await client.delete(CONFIGMAPS, "a", uid=made["metadata"]["uid"], grace_period=0)
        assert api.requests[-1].body == {
            "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background",
            "preconditions": {"uid": made["metadata"]["uid"]}, "gracePeriodSeconds": 0,
        }  # fmt: skip
        with pytest.raises(NotFound) as caught:
            await client.get(CONFIGMAPS, "a")

    assert caught.value.message == 'configmaps "a" in namespace "default" does not exist'


async def test_client_dry_run_changes_nothing() -> None:
    async with _cluster() as (api, client):
        await client.create(CONFIGMAPS, _map("a"), dry_run=True)
        await client.apply(CONFIGMAPS, _map("a"), dry_run=True)

        assert api.find(CONFIGMAPS, "a") is None


async def test_client_apply_owns_its_fields_and_meets_other_owners() -> None:
    async with _cluster() as (api, client):
        await client.apply(CONFIGMAPS, _map("a", {"ours": "1"}))
        await client.apply(CONFIGMAPS, _map("a", {"theirs": "1"}), field_manager="someone")
        with pytest.raises(Conflict, match='conflict with "someone"'):
            await client.apply(CONFIGMAPS, _map("a", {"theirs": "2"}))
        forced = await client.apply(CONFIGMAPS, _map("a", {"theirs": "2"}), force=True)
        request = api.requests[-1]

    assert forced["data"] == {"theirs": "2"}, "a field that is no longer applied goes"
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert request.query == {"fieldManager": "kubectl-build", "force": "true"}


async def test_client_apply_with_an_old_resource_version_is_a_conflict() -> None:
    async with _cluster() as (api, client):
        old = api.add(CONFIGMAPS, _map("a"))["metadata"]["resourceVersion"]
        api.add(CONFIGMAPS, _map("a", {"k": "changed"}))
        with pytest.raises(Conflict, match="the object has been modified"):
            await client.apply(CONFIGMAPS, _map("a", resourceVersion=old))


async def test_client_pages_stop_when_the_caller_has_enough() -> None:
    async with _cluster() as (api, client):
        for number in range(7):
            api.add(NODES, {"metadata": {"name": f"n{number}"}, "spec": {"unschedulable": number == 0}})
        sizes = []
        async with aclosing(client.pages(NODES, field_selector="spec.unschedulable=false", page_size=2)) as pages:
            async for page in pages:
                sizes.append(len(page))
                if len(sizes) == 2:
                    break
        assert len(api.requests) == 2
        everything = [node["metadata"]["name"] async for page in client.pages(NODES, page_size=3) for node in page]

    assert sizes == [2, 2]
    assert everything == [f"n{number}" for number in range(7)]


async def test_client_sends_credentials_impersonation_and_its_name() -> None:
    impersonation = (("Impersonate-User", "jane"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    async with _cluster(authenticator=Fixed(Authentication(authorization="Bearer t")), impersonation=impersonation) as (api, client):
        assert await client.server_version() == "v1.34.4-fake"
        headers = api.requests[0].headers

    assert headers["Authorization"] == "Bearer t"
    assert headers["Impersonate-User"] == "jane"
    assert headers["User-Agent"].startswith("kubectl-build/")


async def test_client_can_i_asks_for_exactly_one_right() -> None:
    async with _cluster() as (api, client):
        api.allowed = lambda attributes: attributes["subresource"] == "exec"
        assert await client.can_i("create", PODS, subresource="exec", name="p")
        assert not await client.can_i("create", STATEFULSETS, namespace="other")
        specs = [request.body["spec"]["resourceAttributes"] for request in api.requests if request.body]

    assert specs == [
        {"verb": "create", "group": "", "resource": "pods", "subresource": "exec", "name": "p", "namespace": "default"},
        {"verb": "create", "group": "apps", "resource": "statefulsets", "subresource": "", "name": "", "namespace": "other"},
    ]


async def test_client_logs_returns_the_text() -> None:
    async with _cluster() as (api, client):
        api.add(PODS, {"metadata": {"name": "p"}, "fake": {"log": "one\ntwo\n"}})
        assert await client.logs("p", container="c", tail_lines=5, previous=True) == "one\ntwo\n"
        assert api.requests[-1].query == {"container": "c", "tailLines": "5", "limitBytes": "262144", "previous": "true"}


# Watches


async def _take(events: AsyncIterator[WatchEvent], count: int) -> list[tuple[str, str]]:
    taken: list[tuple[str, str]] = []
    async for event in events:
        taken.append((event.type, event.object["metadata"]["name"]))
        if len(taken) == count:
            break
    return taken


async def test_watch_after_a_list_misses_nothing() -> None:
    async with _cluster() as (api, client):
        api.add(PODS, {"metadata": {"name": "before"}})
        version = (await client.list(PODS)).resource_version
        api.add(PODS, {"metadata": {"name": "between"}})
        async with aclosing(client.watch(PODS, resource_version=version)) as events:
            assert await _take(events, 1) == [("ADDED", "between")]
            api.add(PODS, {"metadata": {"name": "between"}, "changed": True})
            api.remove(PODS, "before")
            api.add(CONFIGMAPS, _map("unrelated"))
            api.add(PODS, {"metadata": {"name": "last"}})
            assert await _take(events, 3) == [("MODIFIED", "between"), ("DELETED", "before"), ("ADDED", "last")]


async def test_watch_without_a_version_begins_with_what_exists() -> None:
    async with _cluster() as (api, client):
        api.add(PODS, {"metadata": {"name": "a", "labels": {"app": "x"}}})
        api.add(PODS, {"metadata": {"name": "b"}})
        async with aclosing(client.watch(PODS, label_selector="app=x")) as events:
            assert await _take(events, 1) == [("ADDED", "a")]


async def test_watch_of_objects_larger_than_any_line_limit_arrives_whole() -> None:
    big = "x" * 3_000_000
    async with _cluster() as (api, client):
        api.add(CONFIGMAPS, _map("a", {"big": big}))
        async with aclosing(client.watch(CONFIGMAPS)) as events:
            async for event in events:
                assert event.object["data"]["big"] == big
                break


async def test_watch_that_the_server_ends_just_ends() -> None:
    async with _cluster() as (api, client):
        api.add(PODS, {"metadata": {"name": "a"}})
        seen = []
        async with aclosing(client.watch(PODS)) as events:
            async for event in events:
                seen.append(event.type)
                api.end_watches()

    assert seen == ["ADDED"]


async def test_watch_from_a_version_that_is_too_old_is_gone() -> None:
    async with _cluster() as (api, client):
        api.compacted_version = 1000
        with pytest.raises(Gone):
            await _take(client.watch(PODS, resource_version="5"), 1)


async def test_watch_error_event_is_raised() -> None:
    event = (
        b'{"type":"BOOKMARK","object":{}}\n{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
    )
    async with _cluster() as (api, client):
        api.fail("GET", "/pods", 200, raw=event)
        with pytest.raises(Gone, match='cannot watch pods in namespace "default": too old'):
            await _take(client.watch(PODS), 1)


# Refusals


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (400, "BadRequest", Invalid),
        (500, "InternalError", ApiError),
    ],
)
async def test_client_refusal_of_each_kind_is_its_error(code: int, reason: str, kind: type[ApiError]) -> None:
    async with _cluster() as (api, client):
        api.fail("POST", "/statefulsets", code, reason=reason, message="the server's words")
        with pytest.raises(ApiError) as caught:
            await client.create(STATEFULSETS, {"metadata": {"name": "x"}})

    assert type(caught.value) is kind
    assert caught.value.status == code
    assert caught.value.reason == reason
    assert caught.value.exit_code == 4


async def test_client_forbidden_names_the_action_and_how_to_check_it() -> None:
    words = (
        'statefulsets.apps is forbidden: User "jane" cannot create resource "statefulsets" in API group "apps" in the namespace "default"'
    )
    async with _cluster() as (api, client):
        api.fail("POST", "/statefulsets", 403, reason="Forbidden", message=words)
        with pytest.raises(Forbidden) as caught:
            await client.create(STATEFULSETS, {"metadata": {"name": "x"}})

    assert caught.value.message == f'not allowed to create statefulsets.apps "x" in namespace "default": {words}'
    assert caught.value.hint == "ask for the right; `kubectl auth can-i create statefulsets.apps -n default` tells whether you have it"
    assert (caught.value.verb, caught.value.resource, caught.value.namespace) == ("create", "statefulsets.apps", "default")


async def test_client_refusal_of_admission_is_no_missing_right() -> None:
    words = 'pods "x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1'
    async with _cluster() as (api, client):
        api.fail("POST", "/pods", 403, reason="Forbidden", message=words)
        with pytest.raises(Forbidden) as caught:
            await client.create(PODS, {"metadata": {"name": "x"}})

    assert words in caught.value.message
    assert (caught.value.hint, caught.value.verb) == (None, "")


async def test_client_missing_namespace_is_said_with_the_command_that_makes_it() -> None:
    async with _cluster() as (api, client):
        api.namespaces = {"default"}
        with pytest.raises(NotFound) as caught:
            await client.create(CONFIGMAPS, _map("a"), namespace="nope")

    assert caught.value.message == 'namespace "nope" does not exist'
    assert caught.value.hint == "kubectl create namespace nope"


async def test_client_at_something_that_is_no_api_server_says_so() -> None:
    async with _cluster() as (api, client):
        api.fail("GET", "/pods", 200, raw=b"<html>hello</html>")
        with pytest.raises(ApiUnreachable, match="is no Kubernetes API"):
            await client.list(PODS)
        api.fail("GET", "/namespaces/default/statefulsets", 404, raw=b"404 page not found")
        with pytest.raises(NotFound, match=r"does not serve apps/v1 statefulsets: 404 page not found"):
            await client.list(STATEFULSETS)
        api.fail("GET", "/nodes", 404, raw=b"nothing here")
        with pytest.raises(NotFound, match=r"there is no Kubernetes API at http://127\..*: nothing here"):
            await client.list(NODES)


async def test_client_page_of_a_proxy_is_cut() -> None:
    async with _cluster() as (api, client):
        api.fail("GET", "/pods", 503, raw=b"x" * 100_000)
        with pytest.raises(ApiError) as caught:
            await client.list(PODS)

    assert len(caught.value.message) < 500


async def test_client_busy_server_is_asked_again_as_it_says() -> None:
    async with _cluster() as (api, client):
        api.fail("GET", "/pods", 429, headers={"Retry-After": "0"}, times=2)
        assert (await client.list(PODS)).items == []
        assert len(api.requests) == 3
        api.fail("GET", "/nodes", 429, headers={"Retry-After": "0"})
        with pytest.raises(ApiError, match="answered 429"):
            await client.list(NODES)
        assert len(api.requests) == 8
        api.fail("GET", "/configmaps", 503, headers={"Retry-After": "3600"})
        with pytest.raises(ApiError, match="answered 503"):
            await client.list(CONFIGMAPS)
        assert len(api.requests) == 9
        api.faults.clear()
        api.fail("GET", "/configmaps", 503, headers={"Retry-After": "²"})
        with pytest.raises(ApiError, match="answered 503"):
            await client.list(CONFIGMAPS)
        assert len(api.requests) == 10


class Renewing:
    """Has a good token only after a refusal."""

    def __init__(self) -> None:
        self.token = "old"
        self.refusals = 0

    async def authenticate(self, *, refused: bool = False) -> Authentication:
        if refused:
            self.refusals += 1
            self.token = "new"
        return Authentication(authorization=f"Bearer {self.token}")


async def test_client_refused_token_is_renewed_once_for_requests_and_exec() -> None:
    for use in (_list_pods, _echo):
        authenticator = Renewing()
        async with _cluster(authenticator=authenticator) as (api, client):
            api.token = "new"
            api.add(PODS, {"metadata": {"name": "p"}})
            api.exec_handler = cat
            await use(client)
            assert authenticator.refusals == 1
            api.token = "another"
            with pytest.raises(Unauthorized) as caught:
                await client.list(PODS)

        assert caught.value.message == f'the API server {api.url} does not accept the credentials of user "tester"'


async def _list_pods(client: KubeClient) -> None:
    await client.list(PODS)


async def _echo(client: KubeClient) -> None:
    stream = await open_exec(client, pod="p", container="c", command=["cat"])
    await stream.send(b"x")
    assert await stream.receive() == b"x"
    await stream.aclose()


async def test_server_time_is_that_of_the_newest_answer() -> None:
    async with _cluster() as (_, client):
        assert client.server_time is None
        await client.list(PODS)
        assert client.server_time is not None
        assert abs(client.server_time - datetime.now(UTC)) < timedelta(seconds=60)
