"""The channels of Kubernetes' exec over WebSocket, without I/O.

Every binary message starts with one byte, the channel; the rest is that channel's data. v5 adds one message: 255 followed by a
channel number closes that channel, which is how stdin ends. Follows k8s.io/apimachinery pkg/util/remotecommand and
k8s.io/client-go tools/remotecommand (v4.go for the status channel).
"""

from __future__ import annotations

from kubectl_build.errors import ProtocolError
from kubectl_build.model.json import parse_json
from kubectl_build.values import dataclass

STDIN = 0
STDOUT = 1
STDERR = 2
STATUS = 3
CLOSE = 255

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
SUBPROTOCOLS = (V5, V4)
"""What we offer, best first. Both send a JSON Status on channel 3; only v5 can end stdin."""

BULK_SUBPROTOCOLS = (V4,)
"""What we offer for much data. The API server unpacks every message of v5, whatever else is offered, and passes v4 on as it is."""

STDERR_TAIL = 16 * 1024
"""How much of the end of stderr is kept for error messages, in bytes."""

_STATUS_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecStatus:
    """How a command ended. `exit_code` is None when it never started or nobody knows its code; `message` is the server's."""

    exit_code: int | None
    message: str = ""
    reason: str = ""

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0


def stdin_message(data: bytes | bytearray | memoryview) -> bytes:
    """Frame data for the command's stdin."""
    return b"\x00" + data


def close_message(channel: int) -> bytes:
    """Frame the end of a channel (v5 only)."""
    return bytes((CLOSE, channel))


class ExecChannels:
    """What the server has sent so far, sorted by channel. Stdout is handed on; the end of stderr and the status are kept."""

    def __init__(self, subprotocol: str) -> None:
        self.can_close_stdin = subprotocol == V5
        self.status: ExecStatus | None = None
        self._stderr = bytearray()
        self._status = bytearray()

    @property
    def stderr(self) -> bytes:
        """The last bytes of stderr, at most STDERR_TAIL."""
        return bytes(self._stderr[-STDERR_TAIL:])

    def feed(self, message: bytes) -> bytes:
        """Take one binary message and return the stdout data in it (often none).

        Raises ProtocolError for a channel that no server may use.
        """
        if not message:
            return b""
        channel = message[0]
        if channel == STDOUT:
            return message[1:]
        if channel == STDERR:
            self._stderr += message[1:]
            if len(self._stderr) > 4 * STDERR_TAIL:
                del self._stderr[:-STDERR_TAIL]
        elif channel == STATUS:
            self._feed_status(message[1:])
        elif channel != CLOSE:
            # A close of the server's own channels says nothing that the status does not say.
            raise ProtocolError(f"the exec connection carried data for the unknown channel {channel}")
        return b""

    def finish(self) -> ExecStatus | None:
        """Say that no message follows, and return the status: one that is not JSON then counts as the message of a failure."""
        if self.status is None and self._status:
            self.status = ExecStatus(exit_code=None, message=self._status.decode(errors="replace").strip())
        return self.status

    def _feed_status(self, data: bytes) -> None:
        self._status += data
        if len(self._status) > _STATUS_LIMIT:
            raise ProtocolError(f"the exec connection carried a status of more than {_STATUS_LIMIT} bytes")
        try:
            document = parse_json(self._status)
        except ValueError:  # also an incomplete UTF-8 sequence: the rest is still to come
            return
        if isinstance(document, dict):
            self.status = _status_from(document)


def _status_from(document: dict[str, object]) -> ExecStatus:
    message = str(document.get("message") or "")
    reason = str(document.get("reason") or "")
    if document.get("status") == "Success":
        return ExecStatus(exit_code=0, message=message, reason=reason)
    details = document.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    if reason == "NonZeroExitCode" and isinstance(causes, list):
        for cause in causes:
            if isinstance(cause, dict) and cause.get("reason") == "ExitCode":
                try:
                    return ExecStatus(exit_code=int(str(cause.get("message"))), message=message, reason=reason)
                except ValueError:
                    break
    return ExecStatus(exit_code=None, message=message, reason=reason)
