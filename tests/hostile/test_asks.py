"""What a daemon asks of the client: files that are not the build's, secrets and logins that nobody named."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from kubectl_build.fsutil import packets
from kubectl_build.fsutil.stat import MODE_SYMLINK, Stat
from kubectl_build.layout.store import LayoutStore
from kubectl_build.model.credentials import Credentials
from kubectl_build.proto.auth_pb2 import CredentialsRequest, CredentialsResponse
from kubectl_build.proto.content_pb2 import InfoRequest, ReadContentRequest, WriteContentRequest
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.proto.secrets_pb2 import GetSecretRequest, GetSecretResponse
from kubectl_build.proto.ssh_pb2 import CheckAgentRequest
from kubectl_build.session import Auth, ContentStores, DirTarget, FileSend, FileSync, LocalDir, Session, Upload
from tests.hostile.client import build
from tests.hostile.conftest import Place
from tests.hostile.daemon import Daemon, serve
from tests.unit.session.peer import Call, Peer, served

_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
_LOGIN = "/moby.filesync.v1.Auth/Credentials"
_CONTENT = "/containerd.services.content.v1.Content/"


def _listed(call: Call) -> list[Packet]:
    return [packet for packet in map(Packet.FromString, call.messages) if packet.type == packets.STAT]


def _all_listed(call: Call) -> bool:
    return bool(call.status) or any(not packet.HasField("stat") for packet in _listed(call))


async def _take_everything(peer: Peer, *headers: tuple[str, str]) -> Call:
    """Ask for a directory as `headers` say, and then for every number there is, and some more."""
    call = await peer.call(_SYNC, headers=headers, end=False)
    await peer.pump(lambda: _all_listed(call))
    for number in range(len(_listed(call)) + 3):
        if call.status is None:
            await peer.send(call, packets.encode_request(number))
    if call.status is None:
        await peer.send(call, packets.FINISHED)
    await peer.finished(call)
    return call


_WAYS_OUT: dict[str, list[tuple[str, str]]] = {
    "another name": [("dir-name", "/")],
    "a path": [("dir-name", "../outside")],
    "a path behind the name": [("dir-name", "context/../../outside")],
    "no name": [],
    "two names": [("dir-name", "context"), ("dir-name", "/etc")],
    "patterns that go up": [("dir-name", "context"), ("include-patterns", "../outside/*"), ("include-patterns", "../**")],
    "a pattern through a link": [("dir-name", "context"), ("include-patterns", "link/canary"), ("include-patterns", "link/**")],
    "paths to follow": [
        ("dir-name", "context"),
        ("followpaths", "../outside/canary"),
        ("followpaths", "link/canary"),
        ("followpaths", "up"),
    ],
    "wildcards to follow": [("dir-name", "context"), ("followpaths", "l*/canary"), ("followpaths", "link/*"), ("followpaths", "../*/*")],
    "an absolute path": [("dir-name", "context"), ("followpaths", "/etc/passwd"), ("include-patterns", "/etc/passwd")],
    "encoded": [("dir-name", "context%2F..%2F..%2Foutside"), ("dir-name-encoded", "1")],
    "bytes": [("dir-name", "context"), ("include-patterns-encoded", "1"), ("include-patterns", "%00%ff%2e%2e/outside/canary")],
}


@pytest.mark.parametrize("headers", _WAYS_OUT.values(), ids=_WAYS_OUT.keys())
async def test_file_outside_of_the_context_is_not_sent(place: Place, headers: list[tuple[str, str]]) -> None:
    session = Session(shared_key="", attachables=[FileSync({"context": LocalDir(place.context)})])
    async with served(session) as peer:
        call = await _take_everything(peer, *headers)

    assert place.canary.encode() not in b"".join(call.messages)
    assert not any(packet.stat.path.endswith("canary") for packet in _listed(call))


async def test_link_put_into_the_context_by_an_output_is_not_followed(place: Place) -> None:
    # An output into the context is usual (-o out .). While the context is listed, and the daemon says how fast, it puts a link in the
    # place of a directory that it has seen there.
    out = place.context / "out"
    (out / "z").mkdir(parents=True)
    for number in range(3000):
        (out / f"a{number:04d}{'x' * 180}").touch()
    session = Session(shared_key="", attachables=[FileSync({"context": LocalDir(place.context)}), FileSend({0: DirTarget(out)})])
    async with served(session, window=1 << 14) as peer:
        peer.acknowledge = False
        peer.h2.increment_flow_control_window(1 << 25)  # the connection is open, this call's window is not
        patterns = [("include-patterns", "out/a*"), ("include-patterns", "out/z/canary")]
        sync = await peer.call(_SYNC, headers=[("dir-name", "context"), *patterns], end=False)
        await peer.pump(lambda: sync.messages)
        link = packets.encode_stat(Stat("z", MODE_SYMLINK | 0o777, 0, 0, str(place.outside)))
        sent = await peer.call(_SEND, link, packets.END_OF_STATS, end=False)
        await peer.pump(lambda: sent.messages)
        assert (out / "z").is_symlink()
        peer.h2.increment_flow_control_window(1 << 25, sync.id)
        await peer.flush()
        await peer.pump(lambda: _all_listed(sync))

    assert not any(packet.stat.path.endswith("canary") for packet in _listed(sync))


async def test_file_behind_a_link_that_took_the_place_of_its_directory_is_not_read(place: Place) -> None:
    folder = place.context / "folder"
    folder.mkdir()
    (folder / "canary").write_text(place.canary)
    session = Session(shared_key="", attachables=[FileSync({"context": LocalDir(place.context)})])
    async with served(session) as peer:
        call = await peer.call(_SYNC, headers=[("dir-name", "context")], end=False)
        await peer.pump(lambda: _all_listed(call))
        number = [packet.stat.path for packet in _listed(call)].index("folder/canary")
        (folder / "canary").rename(place.outside / "canary")  # of the size and time that were announced
        folder.rmdir()
        folder.symlink_to(place.outside)
        await peer.send(call, packets.encode_request(number))
        assert (await peer.finished(call))[0] != 0

    assert place.canary.encode() not in b"".join(call.messages)
    assert session.failure is not None
    assert '"was removed' not in session.failure.message


async def test_file_that_is_asked_for_again_and_again_is_refused(place: Place) -> None:
    session = Session(shared_key="", attachables=[FileSync({"context": LocalDir(place.context)})])
    async with served(session) as peer:
        call = await peer.call(_SYNC, headers=[("dir-name", "context")], end=False)
        await peer.pump(lambda: _all_listed(call))
        await peer.send(call, *[packets.encode_request(0)] * 1000)
        code, message = await peer.finished(call)

    assert (code, message) == (3, "invalid file id 0")


class _Logins:
    """A keychain that has one login, and tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        self.asked.append(host)
        return Credentials(username="user", secret="password") if host == "registry.example.com" else None


@pytest.mark.parametrize("host", ["", "*", "example.com", "registry.example.com.evil.example", "registry.example.com\n", "REGISTRY"])
async def test_host_that_is_not_the_logins_gets_none(host: str) -> None:
    keychain = _Logins()
    async with served(Session(shared_key="", attachables=[Auth(keychain)])) as peer:
        call = await peer.call(_LOGIN, CredentialsRequest(Host=host).SerializeToString())
        await peer.finished(call)

    assert CredentialsResponse.FromString(call.messages[0]) == CredentialsResponse()
    assert keychain.asked == [host]


async def test_store_gives_and_takes_blobs_alone(place: Place) -> None:
    store = LayoutStore(place.context / "store")
    digests = ["../../outside/canary", "sha256:../../../outside/canary", f"sha256:{'0' * 63}/", "sha256:", "", "x" * 100_000]
    names = ["oci:../outside", "", "local:/", "export"]
    async with served(Session(shared_key="", attachables=[ContentStores({"local:cache": store})])) as peer:
        for name in ("local:cache", *names):
            headers = [("buildkit-attachable-store-id", name)]
            for digest in digests:
                info = await peer.call(f"{_CONTENT}Info", InfoRequest(digest=digest).SerializeToString(), headers=headers)
                assert (await peer.finished(info))[0] != 0
                read = await peer.call(f"{_CONTENT}Read", ReadContentRequest(digest=digest).SerializeToString(), headers=headers)
                assert (await peer.finished(read))[0] != 0
                request = WriteContentRequest(action="COMMIT", ref="../../x", expected=digest or "x", data=b"x", total=1)
                write = await peer.call(f"{_CONTENT}Write", request.SerializeToString(), headers=headers)
                assert (await peer.finished(write))[0] != 0

    assert place.untouched()
    assert not [path for path in store.path.rglob("*") if path.is_file()]


async def test_upload_gives_what_it_was_made_for_alone(place: Place) -> None:
    async with served(Session(shared_key="", attachables=[Upload({"id": place.context / "file"})])) as peer:
        for path in ("/../outside/canary", "/etc/passwd", "", "id/..", "/id/"):
            call = await peer.call("/moby.upload.v1.Upload/Pull", headers=[("urlpath", path)])
            assert (await peer.finished(call))[0] == 5, path


async def test_command_gives_a_daemon_only_what_the_user_named(place: Place) -> None:
    known, secret, login = f"known-{place.canary}", f"unset-{place.canary}", base64.b64encode(f"user:{place.canary}".encode()).decode()
    (place.outside / "known").write_text(known)
    (place.context.parent / "docker").mkdir()
    (place.context.parent / "docker" / "config.json").write_text(json.dumps({"auths": {"registry.example.com": {"auth": login}}}))
    codes: dict[str, int] = {}

    async def ask(peer: Peer) -> None:
        await _take_everything(peer, ("dir-name", "context"))
        for id in ("known", "other", "", "../known", "HIDDEN", "HOME", str(place.outside / "canary")):
            call = await peer.call(_SECRET, GetSecretRequest(ID=id).SerializeToString())
            codes[id] = (await peer.finished(call))[0]
            if id == "known":
                assert GetSecretResponse.FromString(call.messages[0]).data == known.encode()
        for host in ("other.example.com", "", "registry.example.com:443"):
            login = await peer.call(_LOGIN, CredentialsRequest(Host=host).SerializeToString())
            await peer.finished(login)
            assert CredentialsResponse.FromString(login.messages[0]) == CredentialsResponse(), host
        agent = await peer.call("/moby.sshforward.v1.SSH/CheckAgent", CheckAgentRequest(ID="default").SerializeToString())
        codes["ssh"] = (await peer.finished(agent))[0]

    environ = {"HIDDEN": secret, "DOCKER_CONFIG": str(place.context.parent / "docker"), "SSH_AUTH_SOCK": str(place.socket)}
    daemon = Daemon(script=ask)
    async with serve(daemon, place.socket) as address:
        secrets = f"--secret=id=known,src={place.outside / 'known'}"
        outcome = await build(address, place.context, ".", "--progress=plain", secrets, environ=environ)

    assert outcome.civil().code == 0, outcome
    assert codes.pop("known") == 0
    assert all(codes.values()), codes
    heard = bytes(daemon.heard)
    assert secret.encode() not in heard
    assert heard.count(place.canary.encode()) == 1  # in the secret that it was to have
    assert place.canary not in outcome.stderr + outcome.stdout


async def test_path_of_links_without_end_is_followed_to_its_end(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"l{number}").symlink_to(f"l{number + 1}")
    async with served(Session(shared_key="", attachables=[FileSync({"context": LocalDir(tmp_path)})])) as peer:
        call = await _take_everything(peer, ("dir-name", "context"), ("followpaths", "l0"))

    assert len(_listed(call)) == 3001
