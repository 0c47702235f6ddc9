"""Bytes of a daemon or an API server: HTTP/2, gRPC messages, packets, channels, agents, statuses, LLB."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.buildkit.client import RpcFailure
from kubectl_build.buildkit.errors import FailureLog, solve_error
from kubectl_build.buildkit.llb import result_needs
from kubectl_build.buildkit.status import Ledger, status_update
from kubectl_build.cluster.channels import STDERR_TAIL, V5, ExecChannels
from kubectl_build.errors import KubectlBuildError, ProtocolError, UsageError
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.receive import Receiver
from kubectl_build.fsutil.stat import MODE_DIR, MODE_SYMLINK, Stat
from kubectl_build.model.platform import Platform
from kubectl_build.progress.display import View
from kubectl_build.progress.escape import LogDecoder, clean
from kubectl_build.progress.plain import PlainView
from kubectl_build.progress.rawjson import RawJsonView
from kubectl_build.proto import control_pb2, gateway_pb2, pb_pb2, status_pb2
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.session.agent_protocol import MessageCutter, may_pass
from kubectl_build.session.connection import Connection
from kubectl_build.session.rpc import MAX_MESSAGE, MessageReader, RpcError, frame, metadata_of, trailers, unescape
from kubectl_build.session.stream import ServerStream
from tests.unit.fuzz.effort import bytes_like, documents, tried, written
from tests.unit.session.peer import Peer, PipeEnd

_AMD64 = Platform("linux", "amd64")


class _Callbacks:
    """Ends every call at once with what came."""

    def __init__(self) -> None:
        self.connection: Connection | None = None

    def call_started(self, stream_id: int, stream: ServerStream) -> None:
        assert self.connection is not None
        if stream.method.endswith("Check"):
            self.connection.mark_urgent(stream_id)
        unescape(stream.metadata, "dir-name")
        self.connection.finish(stream_id, 2, stream.method)

    def call_reset(self, stream_id: int) -> None:
        pass


def _conversation() -> bytes:
    peer = Peer(PipeEnd(None, None))  # type: ignore[arg-type]  # nothing is sent through it
    for number in (1, 3, 5):
        headers = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", f"/a.B/Check{number}"), ("dir-name", "%41")]
        peer.h2.send_headers(number, headers)
        peer.h2.send_data(number, frame(b"x" * number), end_stream=number != 3)
    peer.h2.ping(b"12345678")
    peer.h2.reset_stream(3)
    return peer.h2.data_to_send()


@tried(60)
@given(bytes_like(_conversation()), st.lists(st.integers(1, 200), max_size=20))
def test_connection_takes_any_bytes(data: bytes, cuts: list[int]) -> None:
    callbacks = _Callbacks()
    callbacks.connection = connection = Connection(callbacks, wake=lambda: None)
    with suppress(ProtocolError):
        for cut in (*cuts, len(data)):
            connection.receive(data[:cut])
            data = data[cut:]
            while connection.next_write():
                pass


@tried(60)
@given(bytes_like(frame(b"abc") + frame(b"")), st.integers(1, 7))
def test_message_reader_takes_any_bytes(data: bytes, step: int) -> None:
    reader = MessageReader()
    with suppress(RpcError):
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])
            reader.take()
            assert reader.pending <= MAX_MESSAGE + step


@tried(60)
@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12))), st.text())
def test_metadata_of_any_bytes_is_read_and_any_words_are_sent(headers: list[tuple[bytes, bytes]], words: str) -> None:
    metadata = metadata_of([*headers, (b"key", b"%zz+%41\xff"), (b"key-encoded", b"1")])
    unescape(metadata, "key")
    for name, value in trailers(3, words):
        (name + value).encode("ascii")
        assert value == value.strip(" ")


_STATS = [
    Stat("a", MODE_DIR | 0o755, 0, 1),
    Stat("a/f", 0o644, 3, 1, xattrs={"user.x": b"y"}),
    Stat("l", MODE_SYMLINK | 0o777, 0, 1, "a/f"),
]
_PACKETS = [*map(packets.encode_stat, _STATS), b"", Packet(type=packets.DATA, ID=1, data=b"abc").SerializeToString(), packets.FINISHED]


@tried(40)
@given(st.lists(bytes_like(*_PACKETS) | st.sampled_from(_PACKETS), max_size=8))
def test_receiver_takes_any_packets_and_stays_in_its_directory(messages: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        target = Path(folder, "inner", "target")
        receiver = Receiver(str(target), remember=True)
        try:
            receiver.open()
            for message in messages:
                with suppress(DecodeError):
                    receiver.take([Packet.FromString(message)])
            receiver.finish()
        except (ProtocolError, UsageError):
            pass
        finally:
            receiver.close()
        assert [path.name for path in Path(folder).iterdir()] == ["inner"]
        assert [path.name for path in Path(folder, "inner").iterdir()] == ["target"]


_EXIT = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}, "message": "x"}


@tried(60)
@given(st.lists(bytes_like(b"\1out", b"\2err", b"\xff\0"), max_size=5), documents(_EXIT, {"status": "Success"}), st.integers(1, 40))
def test_exec_channels_take_any_messages(messages: list[bytes], status: Any, cut: int) -> None:
    channels = ExecChannels(V5)
    data = written(status)
    with suppress(ProtocolError):
        for message in (*messages, b"\3" + data[:cut], b"\3" + data[cut:]):
            channels.feed(message)
    found = channels.finish()
    assert found is None or found.exit_code is None or isinstance(found.exit_code, int)
    assert len(channels.stderr) <= STDERR_TAIL


@tried(60)
@given(st.lists(bytes_like(b"\0\0\0\1\x0b", b"\0\0\0\5\x0dabcd"), max_size=5))
def test_agent_messages_of_any_bytes_are_cut_or_refused(pieces: list[bytes]) -> None:
    cutter = MessageCutter()
    with suppress(ProtocolError):
        for piece in pieces:
            for message in cutter.feed(piece):
                assert not may_pass(message) or message[4] in (11, 13)


def _status() -> bytes:
    message = control_pb2.StatusResponse()
    vertex = message.vertexes.add(digest="sha256:1", name="[build 1/2] RUN x", inputs=["sha256:2"])
    vertex.started.seconds, vertex.completed.seconds = 5, 6
    part = message.statuses.add(ID="part", vertex="sha256:1", current=1, total=2)
    part.started.seconds = part.timestamp.seconds = 5
    message.logs.add(vertex="sha256:1", msg=b"out\x1b[1mput\n").timestamp.seconds = 5
    warning = message.warnings.add(vertex="sha256:1", short=b"short", detail=[b"detail"], url="u")
    warning.info.data = b"FROM x\nRUN y\n"
    warning.ranges.add().start.line = 2
    return message.SerializeToString()


@tried(50)
@given(st.lists(bytes_like(_status()), min_size=1, max_size=4), st.integers(0, 1 << 40))
def test_status_of_any_kind_is_shown_without_harm(messages: list[bytes], now: int) -> None:
    views: list[View] = [PlainView(details=True), RawJsonView()]
    ledger, log = Ledger(), FailureLog()
    shown = ""
    for data in messages:
        with suppress(DecodeError):
            update = status_update(control_pb2.StatusResponse.FromString(data))
            ledger.add(update)
            log.add(update)
            for view in views:
                view.apply(update, float(now))
                shown += view.refresh(float(now))
    shown += "".join(view.finish(float(now)) for view in views)
    assert clean(shown) == shown
    shown.encode("utf-8", "surrogateescape")


@tried(60)
@given(st.lists(bytes_like(b"a\x1b[31mb\x1b[0m\r\n", b"\x1b]0;title\x07", b"\xe2\x82\xac\x9b1A", b"\x1bPq\x1b\\"), max_size=6))
def test_output_cut_anywhere_loses_what_moves_the_cursor(pieces: list[bytes]) -> None:
    decoder = LogDecoder()
    text = "".join(map(decoder.decode, pieces))
    assert clean(text) == text


def _result(blob: bytes, platforms: bytes) -> gateway_pb2.Result:
    result = gateway_pb2.Result()
    getattr(getattr(result.refs.refs["linux/amd64"], "def"), "def").extend([blob, b""])
    result.metadata["refs.platforms"] = platforms
    return result


_EXEC = pb_pb2.Op(exec=pb_pb2.ExecOp(meta=pb_pb2.Meta(args=["x"])), platform=pb_pb2.Platform(OS="linux", Architecture="arm64"))
_PLATFORMS = {"Platforms": [{"ID": "linux/amd64", "Platform": {"os": "linux", "architecture": "amd64", "variant": "v1"}}]}


@tried(60)
@given(bytes_like(_EXEC.SerializeToString()), documents(_PLATFORMS), bytes_like(_result(b"", b"").SerializeToString()))
def test_llb_of_any_kind_is_read_or_refused(blob: bytes, platforms: Any, raw: bytes) -> None:
    with suppress(ProtocolError):
        result_needs(_result(blob, written(platforms)), [_AMD64], _AMD64)
    with suppress(ProtocolError, DecodeError):
        result_needs(gateway_pb2.Result.FromString(raw), [_AMD64], _AMD64)


class _Status(grpc.RpcError):  # type: ignore[misc]  # grpcio has no types
    """What grpcio raises for a status."""

    def __init__(self, message: str, details: bytes) -> None:
        self._message, self._details = message, details

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return self._message

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("grpc-status-details-bin", self._details),)


_DETAILS = [
    ("Vertex", {"digest": "sha256:1"}),
    ("Source", {"info": {"filename": "f", "data": "eA=="}, "ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}),
    ("ExitMessage", {"exit_code": 3}),
    ("Subrequest", {"name": "frontend.lint"}),
]


@tried(60)
@given(
    st.text(),
    st.sampled_from(_DETAILS).flatmap(lambda kind: documents(kind[1]).map(lambda value: (kind[0], value))),
    st.binary(max_size=20),
)
def test_failure_with_any_details_is_told(message: str, detail: tuple[str, Any], noise: bytes) -> None:
    status = status_pb2.Status(code=2)
    status.details.add(type_url=f"{detail[0]}+json", value=written(detail[1]))
    for details in (status.SerializeToString(), noise):
        assert isinstance(solve_error(RpcFailure(_Status(message, details)), FailureLog()), KubectlBuildError)
