"""What daemons remember, pods print and API servers stream, and a file of ours that somebody has edited: read or refused in any form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.buildkit.histories import blobs, image_tops, provenance_of, read_record
from kubectl_build.buildkit.usage import _record
from kubectl_build.cli.preference import preferred_builder
from kubectl_build.cli.running import PodBuilds, running_builds, running_document, running_table
from kubectl_build.cluster.client import _lines
from kubectl_build.doctor.vitals import read_beside
from kubectl_build.errors import ConfigError
from kubectl_build.progress.escape import clean
from kubectl_build.proto import control_pb2
from tests.unit.fuzz.effort import bytes_like, documents, nested, texts_like, tried, written


def _history() -> bytes:
    record = control_pb2.BuildHistoryRecord(Ref="ref", Frontend="dockerfile.v0", numTotalSteps=3, numCompletedSteps=2)
    record.FrontendAttrs.update({"platform": "linux/amd64,linux/arm64", "vcs:source": "https://example.com/r.git", "context": "."})
    record.Exporters.add(Type="image", Attrs={"name": "example.com/a:b"})
    record.CreatedAt.seconds, record.CompletedAt.seconds = 5, 6
    record.error.message = "context canceled\x1b[2J"
    record.logs.digest = "sha256:" + "0" * 64
    result = record.Results["linux/amd64"]
    result.Attestations.add(digest="sha256:1", annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"})
    return record.SerializeToString()


def _usage() -> bytes:
    record = control_pb2.UsageRecord(ID="id", Size=5, Parents=["a"], Description="text", RecordType="regular")
    record.CreatedAt.seconds = record.LastUsedAt.seconds = 5
    return record.SerializeToString()


@tried(60)
@given(bytes_like(_history()), st.floats(0, 1e12))
def test_history_record_of_any_kind_is_listed_and_shown_without_harm(data: bytes, now: float) -> None:
    with suppress(DecodeError):
        record = read_record(control_pb2.BuildHistoryRecord.FromString(data))
        assert record.seconds(now) >= 0
        list(blobs(record.message))
        image_tops(record)
        provenance_of(record)
        running = running_builds(
            PodBuilds(namespace="n", builder="b", pod="p", node="n", architecture="amd64", records=[record], leases=[])
        )
        shown = running_table(running, now, namespaces=True, wide=True)
        assert clean(shown) == shown
        json.dumps(running_document(running))


@tried(60)
@given(bytes_like(_usage()))
def test_entry_of_a_cache_of_any_kind_is_read(data: bytes) -> None:
    with suppress(DecodeError):
        entry = _record(control_pb2.UsageRecord.FromString(data))
        assert entry.last_used is None or isinstance(entry.last_used, float)


@tried(100)
@given(texts_like("clock 1700000000\nprogram nc\ndisk /dev/x 100 50 50 50% /var/lib/buildkit\n"))
def test_what_a_pod_prints_of_itself_is_read_or_left_out(text: str) -> None:
    read_beside(text, 0.0, 1.0)


@pytest.mark.parametrize("number", ["²", "9" * 5000, "٣", "-1", "1e9"])
def test_number_that_is_none_in_what_a_pod_prints_is_left_out(number: str) -> None:
    found = read_beside(f"clock {number}\ndisk /dev/x {number} 1 1 50% /", 0.0, 1.0)
    assert (found.skew, found.disk) == (None, None)


@tried(60)
@given(documents({"context": {"namespace": "builder", "": "other"}}).map(written) | nested)
def test_preferences_of_any_kind_name_a_builder_or_are_refused(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "kubectl-build", "builders.json")
        file.parent.mkdir()
        file.write_bytes(data)
        with suppress(ConfigError):
            assert isinstance(preferred_builder("context", "namespace", {"XDG_CONFIG_HOME": folder}), str)


@tried(60)
@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"\n\n", b'{"type":"ADDED"}\n'])))
def test_stream_of_a_watch_cut_anywhere_has_the_same_lines(chunks: list[bytes]) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def lines() -> list[bytes]:
        return [line async for line in _lines(pieces())]

    whole = b"".join(chunks).split(b"\n")[:-1]
    assert asyncio.run(lines()) == [line for line in whole if line.strip()]
