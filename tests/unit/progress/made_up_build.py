"""A build that never was, shown on this program's stderr: it stands still at each line of the FIFO named on the command line."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from kubectl_build.model.events import Note, StatusUpdate, Vertex, VertexLog
from kubectl_build.progress.display import open_display


async def main(fifo: str) -> None:
    began = time.time()

    def step(name: str, *, done: bool) -> StatusUpdate:
        return StatusUpdate(vertexes=(Vertex(digest=name, name=name, started=began, completed=began + 1 if done else None),))

    async with open_display("tty", sys.stderr, environ=os.environ) as display:
        display.update(Note(text="linux/amd64  native"))
        display.update(step("[1/2] FROM docker.io/library/busybox:a-tag-that-is-long-enough-to-be-cut", done=True))
        display.update(step("[2/2] RUN make", done=False))
        display.update(StatusUpdate(logs=(VertexLog(vertex="[2/2] RUN make", data=b"\x1b[32mcompiling\x1b[0m\x1b[2J\n"),)))
        await asyncio.to_thread(_wait, fifo)
        display.update(step("[2/2] RUN make", done=True))
    print("after the build", file=sys.stderr)


def _wait(fifo: str) -> None:
    with open(fifo) as reader:
        reader.read()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
