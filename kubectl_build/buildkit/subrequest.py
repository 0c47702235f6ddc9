"""Asking a frontend instead of building: --check and --call (moby/buildkit frontend/subrequests, docker/buildx build/build.go).

A question is a solve whose frontend gets the attribute `requestid`; it answers in the metadata of a result without references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kubectl_build.buildkit.client import BuildkitClient
from kubectl_build.buildkit.errors import UnsupportedRequest
from kubectl_build.buildkit.solve import SolveJob, run_solve
from kubectl_build.errors import BuildError, RegistryError, SolveError
from kubectl_build.model.events import Sink
from kubectl_build.model.request import Call
from kubectl_build.proto import gateway_pb2
from kubectl_build.session.session import Session
from kubectl_build.values import dataclass

_CAPS = "moby.buildkit.frontend.subrequests+forward"
"""Says that the answer may have no reference, and that a frontend named by `# syntax=` is to be asked in its turn."""

_METHODS = {"check": "lint"}
"""The methods whose name on the command line is not the frontend's."""

_NEWER_FRONTEND = "docker/dockerfile:1.8.1@sha256:e87caa74dcb7d46cd820352bfea12591f3dba3ddc4285e19c7dcd13359f7cefd"
"""Who is asked where the Dockerfile's own frontend is too old to know the request: the image that buildx v0.35.0 asks."""

_KNOWN_TO_NEWER = ("frontend.lint", "frontend.outline", "frontend.targets")

_ANSWERS = {"result.json", "result.txt"}
"""Every answer has one of these, or both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """A frontend's answer: `result.json`, `result.txt`, `version`, ... of its metadata. `status` is the exit code that it asks for."""

    metadata: Mapping[str, bytes]
    status: int = 0


async def run_call(client: BuildkitClient, session: Session, job: SolveJob, call: Call, *, emit: Sink, pool: str = "") -> CallResult:
    """Ask the frontend of `job` the question `call`, with an attached `session`. No step runs, nothing is exported, and the builder's
    history does not tell of it.

    A frontend that does not know the question is replaced by one that does, as buildx does; where that cannot be had either, what the
    first one said is raised. Raises SolveError, and what `run_solve` raises.
    """
    method = f"frontend.{_METHODS.get(call.method, call.method)}"
    caps = ",".join(filter(None, [job.attrs.get("frontend.caps", ""), _CAPS]))
    asked = replace(job, question={"requestid": method, "frontend.caps": caps}, exporters=(), cache_exports=(), internal=True)
    try:
        return await _ask(client, session, asked, emit, pool)
    except UnsupportedRequest as error:
        known = method in _KNOWN_TO_NEWER
        hint = "name a newer one in its first line: # syntax=docker/dockerfile:1" if known else "see: --call=subrequests.describe"
        refusal = SolveError(f"the Dockerfile's frontend does not know the request {method}", hint=hint, sources=error.sources)
        if not known:
            raise refusal from error
    newer = {**asked.question, "build-arg:BUILDKIT_SYNTAX": _NEWER_FRONTEND}
    try:
        return await _ask(client, session, replace(asked, question=newer), emit, pool)
    except (BuildError, RegistryError) as error:
        raise refusal from error


async def _ask(client: BuildkitClient, session: Session, job: SolveJob, emit: Sink, pool: str) -> CallResult:
    found: dict[str, bytes] = {}

    async def keep(result: gateway_pb2.Result) -> bool:
        found.update(result.metadata)
        return not result.WhichOneof("result")

    await run_solve(client, session, job, check=keep, emit=emit, pool=pool)
    if not _ANSWERS & found.keys():
        # A frontend that knows no requests at all has answered with a build, which was ended: nobody has asked for it.
        raise UnsupportedRequest(job.question["requestid"])
    status = found.get("result.statuscode", b"").decode("utf-8", "replace")
    return CallResult(metadata=found, status=_exit_code(status))


def _exit_code(text: str) -> int:
    """The status as one that a process can have; what can be none is a failure, and must not become 0 by being cut."""
    if not text.isascii() or not text.isdigit():
        return 0
    return int(text) if len(text) < 4 and int(text) < 256 else 1
