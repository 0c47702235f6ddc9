from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from typing import IO

import pytest

from kubectl_build.progress.output import open_output


def _marked(characters: int) -> str:
    return f"<{characters} lost>"


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], io.TextIOWrapper]]:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "w", encoding="ascii") as writer:
        yield reader, writer


async def test_output_writes_all_in_order(pipe: tuple[IO[bytes], io.TextIOWrapper]) -> None:
    reader, writer = pipe
    async with open_output(writer, lost=_marked) as output:
        for number in range(1000):
            output.write(f"{number}\n")

    assert b"".join(f"{number}\n".encode() for number in range(1000)) == os.read(reader.fileno(), 65536)


async def test_output_character_that_the_stream_cannot_encode_is_escaped(pipe: tuple[IO[bytes], io.TextIOWrapper]) -> None:
    reader, writer = pipe
    async with open_output(writer, lost=_marked) as output:
        output.write("naïve 日\n")

    assert os.read(reader.fileno(), 100) == b"na\\xefve \\u65e5\n"


async def test_output_without_descriptor_is_escaped_too() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    async with open_output(stream, lost=_marked) as output:
        output.write("日\n")

    assert raw.getvalue() == b"\\u65e5\n"


async def test_output_reader_that_has_gone_is_no_error(pipe: tuple[IO[bytes], io.TextIOWrapper]) -> None:
    reader, writer = pipe
    reader.close()
    async with open_output(writer, lost=_marked) as output:
        output.write("text\n")
        output.write("more\n")


async def test_output_closed_stream_is_no_error() -> None:
    stream = io.StringIO()
    stream.close()
    async with open_output(stream, lost=_marked) as output:
        output.write("text\n")


async def test_output_stopped_reader_does_not_block_the_writer(pipe: tuple[IO[bytes], io.TextIOWrapper]) -> None:
    """More than a pipe holds is written before anybody reads; then everything arrives."""
    reader, writer = pipe
    received = bytearray()

    def read() -> None:
        while len(received) < 1_000_000:
            received.extend(os.read(reader.fileno(), 65536))

    thread = threading.Thread(target=read)
    async with open_output(writer, lost=_marked) as output:
        for _ in range(1000):
            output.write("x" * 1000)

        assert not output.idle
        thread.start()
    thread.join()

    assert received == b"x" * 1_000_000


async def test_output_non_blocking_stream_loses_nothing(pipe: tuple[IO[bytes], io.TextIOWrapper]) -> None:
    reader, writer = pipe
    os.set_blocking(writer.fileno(), False)
    received = bytearray()

    def read() -> None:
        while len(received) < 300_000:
            received.extend(os.read(reader.fileno(), 65536))

    thread = threading.Thread(target=read)
    async with open_output(writer, lost=_marked) as output:
        output.write("x" * 300_000)
        thread.start()
    thread.join()

    assert len(received) == 300_000


async def test_output_wait_for_a_stopped_reader_can_be_cancelled(pipe: tuple[IO[bytes], io.TextIOWrapper]) -> None:
    reader, writer = pipe
    started = asyncio.Event()

    async def write() -> None:
        async with open_output(writer, lost=_marked) as output:
            output.write("x" * 1_000_000)
            started.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(write())
        await started.wait()
        task.cancel()

    assert task.cancelled()
    while len(os.read(reader.fileno(), 65536)) == 65536:  # lets the thread end
        pass


async def test_output_keeps_a_bounded_amount_for_a_stopped_reader_and_says_what_it_left_out(
    pipe: tuple[IO[bytes], io.TextIOWrapper],
) -> None:
    reader, writer = pipe
    received = bytearray()

    def read() -> None:
        while not received.endswith(b"end"):
            received.extend(os.read(reader.fileno(), 65536))

    thread = threading.Thread(target=read)
    async with open_output(writer, lost=_marked, limit=500_000) as output:
        for _ in range(1000):
            output.write("x" * 1000)
        output.write("end", last=True)
        thread.start()
    thread.join()

    text = received.decode()
    kept = text.count("x")
    assert kept <= 500_000 + 1000
    assert text.endswith(f"<{1_000_000 - kept} lost>end")
