"""Directories of the client for the daemon: moby.filesync.v1.FileSync, with fsutil's protocol on it.

All entries are described first (STAT), while the daemon already asks for the files that it does not have (REQ, by number) and gets them
(DATA). File work is done in threads, some hundred entries or a megabyte at a time, and only as fast as the daemon takes it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class LocalDir:
    """A directory that the daemon may read. `path` may be a symbolic link to it."""

    path: str | Path


class FileSync:
    """Serves named directories. `files_sent` and `bytes_sent` count contents that went out, not descriptions."""

    def __init__(self, dirs: Mapping[str, LocalDir]) -> None:
        """`dirs` has what the daemon calls them: "context", "dockerfile", the names of build contexts."""
        self._dirs = dict(dirs)
        self.files_sent = 0
        self.bytes_sent = 0
        self.methods: Mapping[str, Handler] = {"/moby.filesync.v1.FileSync/DiffCopy": self._diff_copy}

    async def _diff_copy(self, stream: ServerStream) -> None:
        name = next(iter(unescape(stream.metadata, "dir-name")), "")
        if name not in self._dirs:
            raise RpcError(NOT_FOUND, f'this client gives no access to a directory "{name}"')
        root = os.path.realpath(self._dirs[name].path)
        selected = await in_thread(_filter_for, root, stream)
        transfer = _Transfer(root, selected, stream)
        try:
            await transfer.run()
        finally:
            transfer.close()
            self.files_sent += transfer.reader.files_sent
            self.bytes_sent += transfer.reader.bytes_sent


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

    def __init__(self, root: str, selected: Filter, stream: ServerStream) -> None:
        self._entries = walk(root, selected)
        self._stream = stream
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
        await self._stream.send(frame(packets.END_OF_STATS))

    def _next_stats(self) -> bytes:
        messages: list[bytes] = []
        for stat in islice(self._entries, _ENTRIES_AT_ONCE):
            self.reader.add(stat)
            messages.append(packets.encode_stat(stat))
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
                await self._stream.send(batch)
            self._requested.clear()
            if not self.reader.idle:
                continue
            await self._requested.wait()
