from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubectl_build.cluster import exec as exec_module
from kubectl_build.cluster.client import PODS, KubeClient, open_client
from kubectl_build.cluster.exec import open_exec, run
from kubectl_build.errors import ConnectionLost, DialError, ExecError, Forbidden
from kubectl_build.transport.pod import PodAddress, daemon_dialer
from tests.fakes.kube_api import FakeKubeApi, open_fake_kube_api
from tests.fakes.kube_exec import ExecCall, ExecHandler, Refusal, cat, local_process


@asynccontextmanager
async def _cluster(handler: ExecHandler) -> AsyncIterator[tuple[FakeKubeApi, KubeClient]]:
    async with open_fake_kube_api() as api, open_client(api.connection()) as client:
        api.add(PODS, {"metadata": {"name": "p"}})
        api.exec_handler = handler
        yield api, client


async def test_exec_sends_the_command_as_query_and_offers_v5_before_v4() -> None:
    calls: list[ExecCall] = []

    async def handler(call: ExecCall) -> int:
        calls.append(call)
        return 0

    async with _cluster(handler) as (api, client):
        stream = await open_exec(client, pod="p", container="buildkitd", command=["echo", "a b", "ä&=?"])
        assert await stream.receive() == b""
        await stream.aclose()
        request = api.requests[-1]

    assert calls[0].command == ["echo", "a b", "ä&=?"]
    assert calls[0].container == "buildkitd"
    assert calls[0].protocol == "v5.channel.k8s.io"
    assert request.query | {"command": ""} == {
        "container": "buildkitd", "command": "", "stdin": "true", "stdout": "true", "stderr": "true", "tty": "false"
    }  # fmt: skip
    assert request.path == "/api/v1/namespaces/default/pods/p/exec"


async def _protocol(call: ExecCall) -> int:
    await call.write(call.protocol.encode())
    return 0


async def test_exec_for_bulk_offers_v4_alone_because_the_api_server_unpacks_v5() -> None:
    async with _cluster(_protocol) as (api, client):
        stream = await open_exec(client, pod="p", container="c", command=["x"], bulk=True)
        assert await stream.receive() == b"v4.channel.k8s.io"
        await stream.aclose()
        assert len([request for request in api.requests if request.path.endswith("/exec")]) == 1


@pytest.mark.parametrize("status", [400, 404, 406, 500])
async def test_exec_for_bulk_where_v4_is_refused_goes_over_v5(status: int) -> None:
    async with _cluster(_protocol) as (api, client):
        api.fail("GET", "/exec", status, reason="", message="no", times=1)
        stream = await open_exec(client, pod="p", container="c", command=["x"], bulk=True)
        assert await stream.receive() == b"v5.channel.k8s.io"
        await stream.aclose()


async def test_exec_for_bulk_where_only_v5_is_spoken_goes_over_v5() -> None:
    async with _cluster(_protocol) as (api, client):
        api.exec_protocols = ("v5.channel.k8s.io",)
        stream = await open_exec(client, pod="p", container="c", command=["x"], bulk=True)
        assert await stream.receive() == b"v5.channel.k8s.io"
        await stream.aclose()


async def test_exec_for_bulk_that_is_forbidden_or_without_its_pod_is_not_asked_again() -> None:
    async with _cluster(cat) as (api, client):
        message = 'pods "p" is forbidden: User "jane" cannot create resource "pods/exec"'
        api.fail("GET", "/exec", 403, reason="Forbidden", message=message, times=1)
        with pytest.raises(Forbidden):
            await open_exec(client, pod="p", container="c", command=["x"], bulk=True)
        with pytest.raises(DialError, match="does not exist"):
            await open_exec(client, pod="gone", container="c", command=["x"], bulk=True)
        assert len([request for request in api.requests if request.path.endswith("/exec")]) == 2


async def test_exec_over_v5_ends_stdin_and_over_v4_leaves_it_open() -> None:
    async def handler(call: ExecCall) -> int:
        data = await call.read()
        ended = "nothing" if call.protocol.startswith("v4") else await call.read()
        await call.write(f"{call.protocol} {data!r} {ended!r}".encode())
        return 0

    async with _cluster(handler) as (api, client):
        for protocols, expected in (
            (("v5.channel.k8s.io",), b"v5.channel.k8s.io b'x' b''"),
            (("v4.channel.k8s.io",), b"v4.channel.k8s.io b'x' 'nothing'"),
        ):
            api.exec_protocols = protocols
            stream = await open_exec(client, pod="p", container="c", command=["x"])
            await stream.send(b"x")
            await stream.send_eof()
            assert await stream.receive() == expected
            assert await stream.receive() == b""
            await stream.aclose()


async def test_exec_failure_before_data_is_a_dial_error_with_the_servers_words() -> None:
    async def handler(call: ExecCall) -> int:
        raise Refusal('container not found ("buildkitd")')

    async with _cluster(handler) as (_, client):
        stream = await open_exec(client, pod="p", container="buildkitd", command=["buildctl", "dial-stdio"])
        with pytest.raises(DialError) as caught:
            await stream.receive()
        await stream.aclose()

    where = '"buildctl dial-stdio" in pod "p" of namespace "default"'
    assert caught.value.message == f'cannot connect to {where}: container not found ("buildkitd")'


async def test_exec_failure_after_data_is_connection_lost_with_the_end_of_stderr() -> None:
    async def handler(call: ExecCall) -> int:
        await call.write(b"data")
        await call.write_error(b"it broke\n")
        return 7

    async with _cluster(handler) as (_, client):
        stream = await open_exec(client, pod="p", container="c", command=["x"])
        assert await stream.receive() == b"data"
        with pytest.raises(ConnectionLost) as caught:
            await stream.receive()
        await stream.aclose()

    assert not isinstance(caught.value, DialError)
    assert caught.value.message.endswith("was lost: command terminated with non-zero exit code: exit status 7: it broke")
    assert stream.status is not None
    assert stream.status.exit_code == 7
    assert stream.stderr == b"it broke\n"


async def test_exec_connection_that_ends_without_a_status_is_lost() -> None:
    async def handler(call: ExecCall) -> None:
        await call.write(b"data")

    async with _cluster(handler) as (_, client):
        stream = await open_exec(client, pod="p", container="c", command=["x"])
        assert await stream.receive() == b"data"
        with pytest.raises(ConnectionLost, match=r"the connection ended before the command did"):
            await stream.receive()
        await stream.aclose()


async def test_exec_forbidden_names_the_rights_that_are_missing() -> None:
    async with _cluster(cat) as (api, client):
        api.fail("GET", "/exec", 403, reason="Forbidden", message='pods "p" is forbidden: User "jane" cannot create resource "pods/exec"')
        with pytest.raises(Forbidden) as caught:
            await open_exec(client, pod="p", container="c", command=["x"])

    assert caught.value.message == (
        'not allowed to create pods/exec "p" in namespace "default": pods "p" is forbidden: User "jane" cannot create resource "pods/exec"'
        " (exec needs get and create on pods/exec)"
    )
    assert caught.value.hint == "ask for the verbs get and create on pods/exec in namespace default"


async def test_exec_in_a_missing_pod_is_a_dial_error_naming_it() -> None:
    async with _cluster(cat) as (_, client):
        with pytest.raises(DialError, match=r'pods/exec "gone" in namespace "default" does not exist'):
            await open_exec(client, pod="gone", container="c", command=["x"])


async def test_exec_refused_with_a_plain_page_shows_it() -> None:
    async with _cluster(cat) as (api, client):
        api.fail("GET", "/exec", 502, raw=b"<html>bad gateway</html>")
        with pytest.raises(DialError, match=r"answered 502 to: create pods/exec .*<html>bad gateway</html>"):
            await open_exec(client, pod="p", container="c", command=["x"])


async def test_exec_at_a_server_that_makes_no_websocket_says_so() -> None:
    async with _cluster(cat) as (api, client):
        api.fail("GET", "/exec", 200, raw=b"")
        with pytest.raises(DialError, match=r"makes no WebSocket"):
            await open_exec(client, pod="p", container="c", command=["x"])


async def test_exec_at_a_server_of_unknown_protocols_says_which_are_needed() -> None:
    async with _cluster(cat) as (api, client):
        api.exec_protocols = ("v1.channel.k8s.io",)
        with pytest.raises(DialError, match=r"speaks neither v5\.channel\.k8s\.io nor v4\.channel\.k8s\.io"):
            await open_exec(client, pod="p", container="c", command=["x"])


async def test_exec_pings_while_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unanswered pings do not end the connection: the fake never sends a pong."""
    monkeypatch.setattr(exec_module, "PING_SECONDS", 0.01)
    calls: list[ExecCall] = []

    async def handler(call: ExecCall) -> int:
        calls.append(call)
        return await cat(call)

    async with _cluster(handler) as (_, client):
        stream = await open_exec(client, pod="p", container="c", command=["x"])
        async with asyncio.timeout(5):
            while not calls or calls[0].pings < 5:  # noqa: ASYNC110  the fake counts, nobody tells
                await asyncio.sleep(0.01)
        await stream.send(b"still here")

        assert await stream.receive() == b"still here"
        await stream.aclose()


async def test_run_returns_code_stdout_and_stderr() -> None:
    async with _cluster(local_process) as (_, client):
        result = await run(client, pod="p", container="c", command=["sh", "-c", "echo out; echo err >&2; exit 3"], deadline=10)

    assert result == (3, b"out\n", b"err\n")


async def test_run_of_a_command_that_cannot_start_is_a_dial_error() -> None:
    async with _cluster(local_process) as (_, client):
        with pytest.raises(DialError, match=r'cannot run "no-such-command" in pod "p": .*executable file not found'):
            await run(client, pod="p", container="c", command=["no-such-command"], deadline=10)


async def test_run_beyond_its_deadline_says_what_it_waited_for() -> None:
    async with _cluster(local_process) as (_, client):
        with pytest.raises(DialError, match=r'"sleep 60" in pod "p" did not end within 0\.2 s'):
            await run(client, pod="p", container="c", command=["sleep", "60"], deadline=0.2)


async def test_run_that_prints_without_end_is_stopped() -> None:
    async with _cluster(local_process) as (_, client):
        with pytest.raises(ConnectionLost, match=r"printed more than 1048576 bytes"):
            await run(client, pod="p", container="c", command=["cat", "/dev/zero"], deadline=10)


async def test_daemon_dialer_waits_for_the_first_answer_and_keeps_it() -> None:
    release = asyncio.Event()

    async def handler(call: ExecCall) -> int:
        assert call.command == ["buildctl", "dial-stdio"]
        await release.wait()
        await call.write(b"settings")
        return await cat(call)

    async with _cluster(handler) as (_, client):
        dialing = asyncio.create_task(daemon_dialer(client, PodAddress(namespace="default", name="p"))())
        done, _ = await asyncio.wait([dialing], timeout=0.1)
        assert not done
        release.set()
        stream = await dialing

        assert await stream.receive() == b"settings"
        await stream.send(b"more")
        assert await stream.receive() == b"more"
        await stream.aclose()


async def test_daemon_dialer_without_a_daemon_gives_its_words() -> None:
    async def handler(call: ExecCall) -> int:
        await call.write_error(b"dial unix /run/buildkit/buildkitd.sock: connect: no such file or directory\n")
        return 1

    async with _cluster(handler) as (_, client):
        with pytest.raises(DialError, match=r"exit status 1: dial unix /run/buildkit/buildkitd\.sock: connect: no such file"):
            await daemon_dialer(client, PodAddress(namespace="default", name="p"))()


async def test_daemon_dialer_to_a_container_without_buildctl_tells_how_to_name_another() -> None:
    async def handler(call: ExecCall) -> int:
        raise Refusal('OCI runtime exec failed: exec: "buildctl": executable file not found in $PATH: unknown')

    async with _cluster(handler) as (_, client):
        with pytest.raises(DialError) as caught:
            await daemon_dialer(client, PodAddress(namespace="default", name="p", container="proxy"))()

    assert caught.value.message == 'container "proxy" of pod "p" has no buildctl, which connects to its daemon'
    assert caught.value.hint == "the daemon's own container is named like this: kube-pod://POD?container=NAME"
    assert not caught.value.transient


async def test_daemon_dialer_to_one_of_several_containers_tells_how_to_name_it() -> None:
    async with _cluster(cat) as (api, client):
        api.fail("GET", "/exec", 400, reason="BadRequest", message="a container name must be specified for pod p, choose one of: [a b]")
        with pytest.raises(DialError, match=r"choose one of: \[a b\]") as caught:
            await daemon_dialer(client, PodAddress(namespace="default", name="p", container=""))()

    assert caught.value.hint == "the daemon's own container is named like this: kube-pod://POD?container=NAME"


@pytest.mark.parametrize(("code", "of_the_pod"), [(1, False), (137, True), (None, True)])
async def test_exec_that_ends_before_it_answers_is_of_the_pod_unless_the_command_failed(code: int | None, of_the_pod: bool) -> None:
    async def handler(call: ExecCall) -> int | None:
        return code

    async with _cluster(handler) as (_, client):
        stream = await open_exec(client, pod="p", container="c", command=["nc", "registry", "443"])
        with pytest.raises(DialError) as caught:
            await stream.receive()
        await stream.aclose()

    assert isinstance(caught.value, ExecError) == of_the_pod
    assert caught.value.transient


async def test_exec_in_a_pod_that_is_gone_is_of_the_pod() -> None:
    async with _cluster(cat) as (_, client):
        with pytest.raises(ExecError):
            await open_exec(client, pod="gone", container="c", command=["nc", "registry", "443"])


async def test_daemon_dialer_cancelled_while_it_waits_closes_the_exec() -> None:
    gone = asyncio.Event()

    async def handler(call: ExecCall) -> int:
        try:
            return await cat(call)
        finally:
            gone.set()

    async with _cluster(handler) as (_, client):
        dialing = asyncio.create_task(daemon_dialer(client, PodAddress(namespace="default", name="p"))())
        await asyncio.wait([dialing], timeout=0.1)
        dialing.cancel()
        async with asyncio.timeout(5):
            await gone.wait()
        await asyncio.wait([dialing])

        assert dialing.cancelled()
