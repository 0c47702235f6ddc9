from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubectl_build.errors import UsageError
from kubectl_build.model.inputs import Secret
from kubectl_build.proto.secrets_pb2 import GetSecretRequest, GetSecretResponse
from kubectl_build.session.rpc import NOT_FOUND, UNKNOWN
from kubectl_build.session.secrets import MAX_SECRET, Secrets, check_secrets
from kubectl_build.session.session import Session
from tests.unit.session.peer import Peer, served

_METHOD = "/moby.buildkit.secrets.v1.Secrets/GetSecret"


async def _ask(peer: Peer, id: str) -> tuple[tuple[int, str], bytes]:
    call = await peer.call(_METHOD, GetSecretRequest(ID=id).SerializeToString())
    status = await peer.finished(call)
    return status, GetSecretResponse.FromString(call.messages[0]).data if call.messages else b""


async def _ask_once(secret: Secret) -> tuple[tuple[int, str], bytes, Session]:
    session = Session(shared_key="", attachables=[Secrets([secret])])
    async with served(session) as peer:
        return *await _ask(peer, secret.id), session


@pytest.mark.parametrize("value", [b"", b"one line", b"two\nlines\n", bytes(range(256)), b"x" * MAX_SECRET])
async def test_secret_of_a_file_is_its_bytes(tmp_path: Path, value: bytes) -> None:
    (tmp_path / "file").write_bytes(value)

    status, data, _ = await _ask_once(Secret(id="s", file=tmp_path / "file"))

    assert (status, data) == ((0, ""), value)


async def test_secret_of_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "file"
    async with served(Session(shared_key="", attachables=[Secrets([Secret(id="s", file=file)])])) as peer:
        for value in (b"first", b"second"):
            file.write_bytes(value)
            assert await _ask(peer, "s") == ((0, ""), value)


@pytest.mark.parametrize("value", [b"plain", b"\xff\xfe", "mehr\nüü".encode()])
async def test_secret_of_a_variable_is_its_bytes(monkeypatch: pytest.MonkeyPatch, value: bytes) -> None:
    monkeypatch.setenv("KB_SECRET", os.fsdecode(value))

    assert (await _ask_once(Secret(id="s", env="KB_SECRET")))[1] == value


async def test_secret_of_a_variable_that_is_not_set_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KB_SECRET", raising=False)
    check_secrets([Secret(id="s", env="KB_SECRET")])

    status, data, _ = await _ask_once(Secret(id="s", env="KB_SECRET"))

    assert (status, data) == ((0, ""), b"")


async def test_secret_that_is_unknown_is_not_found() -> None:
    session = Session(shared_key="", attachables=[Secrets([])])
    async with served(session) as peer:
        assert await _ask(peer, "other") == ((NOT_FOUND, "secret other: not found"), b"")

    assert session.failure is None


async def test_secret_whose_file_is_gone_is_the_sessions_failure(tmp_path: Path) -> None:
    status, _, session = await _ask_once(Secret(id="s", file=tmp_path / "gone"))

    assert status[0] == UNKNOWN
    assert isinstance(session.failure, UsageError)
    assert session.failure.message == f'secret "s" cannot be read from "{tmp_path}/gone": no such file or directory'


async def test_secret_that_grew_too_large_is_the_sessions_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (MAX_SECRET + 1))

    status, data, session = await _ask_once(Secret(id="s", file=tmp_path / "file"))

    assert (status[0], data) == (UNKNOWN, b"")
    assert session.failure is not None
    assert session.failure.message.startswith('secret "s" has 512001 bytes')


async def test_secret_of_a_pipe_is_served_as_often_as_asked() -> None:
    value = os.urandom(40_000)
    reading, writing = os.pipe()
    os.write(writing, value)
    os.close(writing)
    secret = Secret(id="s", file=Path(f"/dev/fd/{reading}"))
    try:
        check_secrets([secret])
        async with served(Session(shared_key="", attachables=[Secrets([secret])])) as peer:
            assert [await _ask(peer, "s"), await _ask(peer, "s")] == [((0, ""), value)] * 2
    finally:
        os.close(reading)


async def test_secret_of_a_device_that_never_waits_is_its_bytes() -> None:
    assert (await _ask_once(Secret(id="s", file=Path(os.devnull))))[:2] == ((0, ""), b"")


async def test_secret_of_a_terminal_at_which_nobody_types_is_the_sessions_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "helper=200ms")
    near, far = os.openpty()
    terminal = os.ttyname(far)
    try:
        status, data, session = await _ask_once(Secret(id="s", file=Path(terminal)))
    finally:
        os.close(near)
        os.close(far)

    assert (status[0], data) == (UNKNOWN, b"")
    assert session.failure is not None
    assert session.failure.message == f'secret "s" cannot be read: "{terminal}" did not end within 0.2 s'


def test_check_secrets_of_what_can_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * MAX_SECRET)
    check_secrets([Secret(id="a", file=tmp_path / "file"), Secret(id="b", env="PATH"), Secret(id="c", file=Path(os.devnull))])


def test_check_secrets_names_the_id_and_never_the_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large").write_bytes(b"hush" * MAX_SECRET)
    monkeypatch.setenv("KB_SECRET", "hush" * MAX_SECRET)
    said = []
    for secret in (
        Secret(id="s", file=tmp_path / "large"),
        Secret(id="s", env="KB_SECRET"),
        Secret(id="s", file=tmp_path / "gone"),
        Secret(id="s", file=tmp_path),
    ):
        with pytest.raises(UsageError) as caught:
            check_secrets([secret])
        said.append(caught.value.message)

    too_large = 'secret "s" has 2048000 bytes, and 512000 (500 KiB) are the most that a secret may have'
    assert said == [
        too_large,
        too_large,
        f'secret "s" cannot be read from "{tmp_path}/gone": no such file or directory',
        f'secret "s" cannot be read from "{tmp_path}": it is a directory',
    ]


async def test_secrets_show_no_value_in_their_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_SECRET", "hush")
    served_secrets = Secrets([Secret(id="s", env="KB_SECRET")])

    assert "hush" not in f"{served_secrets!r} {vars(served_secrets)!r}"
