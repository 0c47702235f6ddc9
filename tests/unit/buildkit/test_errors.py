"""What a daemon's failed call is told as."""

from __future__ import annotations

import base64
import json

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any

from kubectl_build.buildkit.client import RpcFailure
from kubectl_build.buildkit.errors import FailureLog, solve_error
from kubectl_build.errors import ConnectionLost, RegistryError, SolveError
from kubectl_build.model.events import StatusUpdate, Vertex, VertexLog
from kubectl_build.proto import status_pb2

DOCKERFILE = "FROM busybox\nRUN one\nRUN two\nRUN three\nRUN four\n"


def failure(message: str, **details: object) -> RpcFailure:
    status = status_pb2.Status(code=2, message=message)
    for kind, value in details.items():
        prefix = "github.com/moby/buildkit/gatewayapi" if kind == "ExitMessage" else "github.com/moby/buildkit/errdefs"
        status.details.append(Any(type_url=f"{prefix}.{kind}+json", value=json.dumps(value).encode()))
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return RpcFailure(grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, grpc.aio.Metadata(), trailers, details=message))


def log_of(name: str, text: bytes, error: str = "exit code: 1") -> FailureLog:
    log = FailureLog()
    log.add(StatusUpdate(vertexes=(Vertex(digest="sha256:a", name=name, error=error),), logs=(VertexLog(vertex="sha256:a", data=text),)))
    return log


def test_failed_step_shows_its_lines_of_the_dockerfile_and_the_end_of_its_log() -> None:
    source = {
        "info": {"filename": "Dockerfile", "data": base64.b64encode(DOCKERFILE.encode()).decode()},
        "ranges": [{"start": {"line": 4}, "end": {"line": 4}}],
    }
    error = solve_error(
        failure('process "/bin/sh -c three" did not complete successfully: exit code: 7', Source=source, ExitMessage={"exit_code": 7}),
        log_of("[4/5] RUN three", b"".join(b"line %d\n" % n for n in range(100))),
    )

    assert isinstance(error, SolveError)
    assert error.exit_code == 1
    assert error.exit_status == 7
    assert error.step == "[4/5] RUN three"
    assert error.log_tail[-1] == "line 99"
    assert len(error.log_tail) == 20
    expected = ((2, "RUN one", False), (3, "RUN two", False), (4, "RUN three", True), (5, "RUN four", False), (6, "", False))
    assert error.sources[0].lines == expected  # the empty piece after the last line end counts, as it does for BuildKit


@pytest.mark.parametrize(
    ("message", "output"),
    [
        ('process "/bin/sh -c dd" did not complete successfully: exit code: 1', b"dd: error writing '/x': No space left on device\n"),
        ("failed to prepare a: mkdir /var/lib/buildkit/runc-overlayfs/snapshots/new-1: no space left on device", b""),
    ],
)
def test_full_disk_is_told_with_what_gives_it_room(message: str, output: bytes) -> None:
    error = solve_error(failure(message), log_of("[2/2] RUN dd", output))

    assert isinstance(error, SolveError)
    assert "kubectl buildkit prune --all" in (error.hint or "")


@pytest.mark.parametrize(
    "message", ['failed to load cache key: no SSH key "deploy" forwarded from the client', "unset ssh forward key deploy"]
)
def test_agent_that_a_build_wants_and_does_not_get_is_told_with_its_flag(message: str) -> None:
    error = solve_error(failure(message), log_of("[internal] load git source git@example.invalid:a/b.git", b""))

    assert isinstance(error, SolveError)
    assert error.hint == "add --ssh deploy for the agent of SSH_AUTH_SOCK, or --ssh deploy=FILE for a key"


def test_target_that_is_not_there_is_told_with_how_to_list_them() -> None:
    error = solve_error(
        failure('failed to solve: target stage "nosuch" could not be found'), log_of("[internal] load build definition", b"")
    )

    assert isinstance(error, SolveError)
    assert error.hint == "the stages that there are: kubectl build --call=targets PATH"


def test_push_that_fails_for_the_builders_full_disk_says_what_gives_it_room() -> None:
    text = "failed to copy: write /var/lib/buildkit/content/ingest/1/data: no space left on device"
    error = solve_error(failure(text), log_of("exporting to image", b""))

    assert "kubectl buildkit prune --all" in (error.hint or "")
    assert not error.transient


def test_push_refused_is_a_registry_error_that_says_which_flag() -> None:
    error = solve_error(
        failure("failed to push reg.example/a: push access denied, insufficient_scope: authorization failed"),
        log_of("exporting to image", b""),
    )

    assert isinstance(error, RegistryError)
    assert error.exit_code == 6
    assert "--registry-secret" in (error.hint or "")


@pytest.mark.parametrize("kind", ["internal", "linux/arm64 internal", "context base", "linux/arm64 context base"])
def test_base_image_that_is_not_there_is_a_registry_error(kind: str) -> None:
    text = "failed to resolve source metadata for docker.io/library/no: docker.io/library/no: not found"

    assert isinstance(solve_error(failure(text), log_of(f"[{kind}] load metadata for docker.io/library/no", b"")), RegistryError)


def test_cache_whose_manifest_the_registry_refuses_for_a_blob_of_another_pool_may_be_tried_again() -> None:
    text = 'error writing manifest blob: failed commit on ref "sha256:a": errors:\nunknown: blob unknown to registry - sha256:b\n'
    error = solve_error(failure(text), log_of("exporting cache to registry", b""))

    assert isinstance(error, RegistryError)
    assert error.transient
    assert error.message == 'error writing manifest blob: failed commit on ref "sha256:a": unknown: blob unknown to registry - sha256:b'


def test_cache_in_a_cloud_that_cannot_be_written_is_a_registry_error() -> None:
    text = "failed to check file presence in cache: operation error S3: HeadObject, get identity: get credentials"

    assert isinstance(solve_error(failure(text), log_of("exporting cache to Amazon S3", b"")), RegistryError)


@pytest.mark.parametrize(
    "text",
    [
        "failed to push reg.example/a: unexpected status from PUT request to https://reg.example/v2/a/: 500 Internal Server Error",
        'failed to push reg.example/a: failed to do request: Head "https://reg.example/v2/": dial tcp 10.0.0.1:443: connection refused',
        'failed to push reg.example/a: failed to copy: Put "https://reg.example/v2/": write tcp: connection reset by peer',
        'failed to push reg.example/a: failed to do request: Head "https://reg.example/v2/": EOF',
        'failed to push reg.example/a: failed to do request: Head "https://reg.example/v2/": net/http: TLS handshake timeout',
    ],
)
def test_push_that_the_infrastructure_broke_may_be_tried_again(text: str) -> None:
    error = solve_error(failure(text), log_of("exporting to image", b""))

    assert isinstance(error, RegistryError)
    assert error.transient


@pytest.mark.parametrize(
    "text",
    [
        "failed to push reg.example/a: unexpected status from HEAD request to https://reg.example/v2/a/blobs/: 403 Forbidden",
        "failed to push reg.example/a: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
        "failed to push reg.example/timeout: push access denied, insufficient_scope: authorization failed",
        'failed to push reg.example/a: failed to do request: Head "https://reg.example/v2/": dial tcp: lookup reg.example: no such host',
        'failed to push reg.example/a: failed to do request: Head "https://reg.example/": x509: certificate signed by unknown authority',
    ],
)
def test_push_that_the_registry_refuses_is_final(text: str) -> None:
    error = solve_error(failure(text), log_of("exporting to image", b""))

    assert isinstance(error, RegistryError)
    assert not error.transient


def test_manifest_refused_for_a_blob_that_another_pool_pushes_too_may_be_tried_again_and_is_told_in_one_line() -> None:
    blob = "sha256:" + "a" * 64
    text = (
        "failed to push reg.example/a: errors:\nunknown: provided digest did not match uploaded content\n"
        f"unknown: blob unknown to registry - {blob}\n\n"
    )
    error = solve_error(failure(text), log_of("exporting to image", b""))

    assert isinstance(error, RegistryError)
    assert error.transient
    assert error.message == (
        f"failed to push reg.example/a: unknown: provided digest did not match uploaded content; unknown: blob unknown to registry - {blob}"
    )


def test_step_whose_own_output_talks_of_a_push_stays_a_build_failure() -> None:
    message = 'process "/bin/sh -c failed to push" did not complete successfully: exit code: 1'

    assert isinstance(solve_error(failure(message, ExitMessage={"exit_code": 1}), log_of("[2/2] RUN failed to push", b"")), SolveError)


def test_session_that_the_daemon_lost_is_a_lost_connection() -> None:
    error = solve_error(failure("no active session for abc: context deadline exceeded"), FailureLog())

    assert isinstance(error, ConnectionLost)
    assert error.exit_code == 5


def test_details_that_cannot_be_read_leave_the_message() -> None:
    broken = failure("boom")
    broken.details_bin = b"\xff\xff"

    assert solve_error(broken, FailureLog()).message == "boom"


def test_log_of_a_step_keeps_only_its_end() -> None:
    log = FailureLog()
    for number in range(1000):
        log.add(StatusUpdate(logs=(VertexLog(vertex="v", data=b"%d " % number + b"x" * 1000 + b"\n"),)))

    assert log.tail("v")[-1].startswith("999 ")
    assert len(log.tail("v")) <= 20
