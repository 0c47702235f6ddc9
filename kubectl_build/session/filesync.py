"""Directories of the client for the daemon: moby.filesync.v1.FileSync, with fsutil's protocol on it.

All entries are described first (STAT), while the daemon already asks for the files that it does not have (REQ, by number) and gets them
(DATA). File work is done in threads, some hundred entries or a megabyte at a time, and only as fast as the daemon takes it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from kubectl_build.errors import UsageError, system_words
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.filter import Filter, make_filter
from kubectl_build.fsutil.walk import walk
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.session.filereader import FileReader
from kubectl_build.session.rpc import INTERNAL, NOT_FOUND, UNKNOWN, Handler, RpcError, frame, frame_all, unescape
from kubectl_build.session.stream import ServerStream
from kubectl_build.session.threads import in_thread
from kubectl_build.values import dataclass

_ENTRIES_AT_ONCE: Final = 512
_TELL_INTERVAL: Final = 0.1
"""Seconds between two times that it is told how much a directory takes; nobody sees more."""

Tell = Callable[[str, int], None]
"""Is told, of a directory by its name, the bytes of all its packets, at most and roughly; 0 when that is not known, or not any more."""


@dataclass(frozen=True, slots=True)
class LocalDir:
    """A directory that the daemon may read. `path` may be a symbolic link to it."""

    path: str | Path


class FileSync:
    """Serves named directories. `files_sent` and `bytes_sent` count contents that went out, not descriptions."""

    def __init__(self, dirs: Mapping[str, LocalDir], *, tell: Tell | None = None) -> None:
        """`dirs` has what the daemon calls them: "context", "dockerfile", the names of build contexts. `tell` must not raise."""
        self._dirs = dict(dirs)
        self._tell = tell
        self._open: list[str] = []
        self.files_sent = 0
        self.bytes_sent = 0
        self.methods: Mapping[str, Handler] = {"/moby.filesync.v1.FileSync/DiffCopy": self._diff_copy}

    async def _diff_copy(self, stream: ServerStream) -> None:
        name = next(iter(unescape(stream.metadata, "dir-name")), "")
        if name not in self._dirs:
            raise RpcError(NOT_FOUND, f'this client gives no access to a directory "{name}"')
        root = os.path.realpath(self._dirs[name].path)
        selected = await in_thread(_filter_for, root, stream)
        transfer = _Transfer(root, selected, stream, partial(self._told, name))
        self._open.append(name)
        try:
            await transfer.run()
        finally:
            transfer.close()
            self._open.remove(name)
            self._told(name, 0)
            self.files_sent += transfer.reader.files_sent
            self.bytes_sent += transfer.reader.bytes_sent

    def _told(self, name: str, expected: int) -> None:
        """Tell of a directory, unless the daemon takes it twice at the same time: its own figures do not tell these apart."""
        if self._tell is not None:
            self._tell(name, expected if self._open.count(name) == 1 else 0)


def _filter_for(root: str, stream: ServerStream) -> Filter:
    metadata = stream.metadata
    try:
        return make_filter(
            root,
            include=unescape(metadata, "include-patterns"),
            exclude=unescape(metadata, "exclude-patterns"),
            follow=unescape(metadata, "followpaths"),
        )
    except OSError as exc:
        raise UsageError(f'"{exc.filename}" cannot be read: {system_words(exc)}') from exc


class _Transfer:
    """One directory on its way to the daemon."""

    def __init__(self, root: str, selected: Filter, stream: ServerStream, tell: Callable[[int], None]) -> None:
        self._entries = walk(root, selected)
        self._stream = stream
        self._tell = tell
        self._tell_at = 0.0
        self._described = 0  # bytes of descriptions
        self._all_described = False
        self._requested = asyncio.Event()
        self.reader = FileReader(root, stream.pack)

    def close(self) -> None:
        """Release what is open."""
        self._entries.close()
        self.reader.close()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._send_stats(), name="send stats"), group.create_task(self._send_files(), name="send files")]
            await self._take_requests()
            for task in helpers:
                task.cancel()
        await self._stream.send(frame(packets.FINISHED))

    async def _send_stats(self) -> None:
        while batch := await in_thread(self._next_stats):
            await self._stream.send(batch)
        self._all_described = True
        await self._stream.send(frame(packets.END_OF_STATS))

    def _next_stats(self) -> bytes:
        messages: list[bytes] = []
        for stat in islice(self._entries, _ENTRIES_AT_ONCE):
            self.reader.add(stat)
            messages.append(packets.encode_stat(stat))
        self._described += sum(map(len, messages))
        return frame_all(messages)

    async def _take_requests(self) -> None:
        """Read what the daemon says until it has all it wants."""
        while messages := await self._stream.receive():
            for message in messages:
                packet = Packet.FromString(message)
                if packet.type == packets.REQ:
                    self.reader.request(packet.ID)
                elif packet.type == packets.FIN:
                    return
                elif packet.type == packets.ERR:
                    raise RpcError(UNKNOWN, f"error from receiver: {packet.data.decode('utf-8', 'replace')}")
            self._requested.set()
        raise RpcError(INTERNAL, "the transfer ended before the receiver said that it was done")

    async def _send_files(self) -> None:
        while True:
            while batch := await in_thread(self.reader.read):
                self._tell_expected()
                await self._stream.send(batch)
            self._requested.clear()
            if not self.reader.idle:
                continue
            await self._requested.wait()

    def _tell_expected(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._all_described and now >= self._tell_at:
            self._tell_at = now + _TELL_INTERVAL
            self._tell(self._described + self.reader.expected())
