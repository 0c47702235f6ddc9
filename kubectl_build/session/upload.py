"""Single files for the daemon: moby.upload.v1.Upload, which is where it fetches http://buildkit-session/<id>.

The daemon keeps nothing under such a URL that would let it ask whether the file has changed, so each solve takes the whole file; steps
on the same bytes are cached all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kubectl_build.errors import UsageError, system_words
from kubectl_build.proto.upload_pb2 import BytesMessage
from kubectl_build.proto.wire import bytes_head
from kubectl_build.session.rpc import NOT_FOUND, Handler, RpcError
from kubectl_build.session.stream import ServerStream
from kubectl_build.session.threads import in_thread

CHUNK: Final = 256 << 10
"""File bytes in one message. The daemon takes messages of up to 16 MiB."""


def upload_url(id: str) -> str:
    """Return the URL by which a build names the file that `Upload` serves as `id`."""
    return f"http://buildkit-session/{id}"


class Upload:
    """Serves files by id (the last part of the URL's path), as often as they are asked for. `bytes_sent` counts what went out.

    A file must not change while the build lasts; one that cannot be read is a UsageError and so the session's failure.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self.bytes_sent = 0
        self.methods: Mapping[str, Handler] = {"/moby.upload.v1.Upload/Pull": self._pull}

    async def _pull(self, stream: ServerStream) -> None:
        path = next(iter(stream.metadata.get("urlpath", ())), "")
        name = path.rpartition("/")[2]
        if name not in self._files:
            raise RpcError(NOT_FOUND, f'this client has no file "{name}" to upload')
        source = self._files[name]
        try:
            file = await in_thread(source.open, "rb", buffering=0)
            try:
                while data := await in_thread(file.read, CHUNK):
                    head = bytes_head(BytesMessage.DATA_FIELD_NUMBER, len(data))
                    await stream.send(b"".join(await in_thread(stream.pack, head, data)))
                    self.bytes_sent += len(data)
            finally:
                await in_thread(file.close)
        except OSError as exc:
            raise UsageError(f'"{source}" cannot be read: {system_words(exc)}') from exc
