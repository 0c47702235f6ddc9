"""A file from a URL, fetched by a daemon: from where it is, with its routes and its trust (docker/buildx build/url.go)."""

from __future__ import annotations

import hashlib

from kubectl_build.buildkit.client import BuildkitClient, RpcFailure
from kubectl_build.buildkit.solve import SolveJob, new_ref, run_solve
from kubectl_build.errors import BuildError, ProtocolError
from kubectl_build.model.events import Sink
from kubectl_build.proto import gateway_pb2, pb_pb2
from kubectl_build.session.session import Session

_NAME = "Dockerfile"
_LIMIT = 2 << 20
"""Bytes that a Dockerfile may have: buildx's limit."""


async def fetch_dockerfile(client: BuildkitClient, session: Session, url: str, *, emit: Sink) -> bytes:
    """Load the Dockerfile at `url`, with an attached `session`. Raises SolveError when it cannot be had, BuildError when it is too long."""
    ref = new_ref()
    data = b""

    async def read(result: gateway_pb2.Result) -> bool:
        nonlocal data
        try:
            data = await client.gateway_read_file(ref, result.ref.id, _NAME, limit=_LIMIT + 1)
        except RpcFailure as failure:
            raise ProtocolError(f"the builder has loaded {url} and does not give it: {failure.message}") from failure
        return False

    await run_solve(client, session, SolveJob(definition=http_definition(url), internal=True), check=read, emit=emit, ref=ref)
    if len(data) > _LIMIT:
        raise BuildError(f"the Dockerfile at {url} is longer than {_LIMIT >> 20} MiB")
    return data


def http_definition(url: str) -> pb_pb2.Definition:
    """The LLB that loads `url` as one file named Dockerfile (moby/buildkit client/llb/source.go, HTTP)."""
    source = pb_pb2.Op(source=pb_pb2.SourceOp(identifier=url, attrs={"http.filename": _NAME})).SerializeToString(deterministic=True)
    digest = "sha256:" + hashlib.sha256(source).hexdigest()
    last = pb_pb2.Op(inputs=[pb_pb2.Input(digest=digest)]).SerializeToString(deterministic=True)
    definition = pb_pb2.Definition(metadata={digest: pb_pb2.OpMetadata(description={"llb.customname": f"[internal] load {url}"})})
    getattr(definition, "def").extend([source, last])
    return definition
