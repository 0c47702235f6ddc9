"""Running a build from the command line: which stream gets what, and the files that a build leaves.

stdout has only what was asked for: the image ID of -q, a --plan, or the bytes of an output to "-". Everything else goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kubectl_build.cli.connect import connected_for
from kubectl_build.cli.files import write_result
from kubectl_build.cli.limit import limited
from kubectl_build.cli.main import run_async
from kubectl_build.cli.notes import note
from kubectl_build.cli.preference import with_preference
from kubectl_build.cli.verbosity import DETAILS, STEPS, phases_told, with_phases
from kubectl_build.model.events import BuildEvent, StatusUpdate
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.request import BuildRequest
from kubectl_build.model.result import BuildResult
from kubectl_build.plan import Plan
from kubectl_build.progress.activity import Activity
from kubectl_build.progress.display import Mode, open_display
from kubectl_build.progress.rawjson import warning_document
from kubectl_build.progress.warnings import Warnings

if TYPE_CHECKING:
    from kubectl_build.cli.report_file import Recording
    from kubectl_build.pipeline import SharedKey


def run_build(
    request: BuildRequest,
    cluster: KubeFlags,
    *,
    mode: Mode,
    verbosity: int,
    quiet: bool,
    iidfile: Path | None,
    metadata_file: Path | None,
    report: Path | None = None,
    unnamed: bool,
    timeout: float | None,
    shared_key: SharedKey | None,
) -> int:
    """Build and tell, at a level of cli.verbosity. Returns the exit code; raises KubectlBuildError for the caller to show.

    `unnamed` says, here and below, that nobody has named a builder, so that the preferred one is used; `timeout` is in seconds;
    `shared_key` is what cli.ahead gives.
    """
    from kubectl_build.pipeline import build

    if metadata_file is not None:
        request = replace(request, metadata_provenance=_metadata_provenance(os.environ))
    warnings = Warnings()

    async def work() -> int:
        opened = open_display(mode, sys.stderr, environ=os.environ, verbose=verbosity >= STEPS, details=verbosity >= DETAILS)
        activity = Activity()
        async with (
            phases_told(verbosity, mode) as phases,
            _recorded(report, request) as record,
            opened as display,
            limited(timeout, activity.words),
            connected_for(request, cluster) as kube,
        ):

            def emit(event: BuildEvent) -> None:
                if isinstance(event, StatusUpdate):
                    warnings.add(event)
                display.update(event)

            sink = record.before(emit) if record else emit
            chosen = await with_preference(request, kube, emit=sink, environ=os.environ) if unnamed else request
            observe = record.observe if record else None
            told = activity.before(with_phases(phases, verbosity, sink))
            result = await build(chosen, kube, emit=told, environ=os.environ, observe=observe, shared_key=shared_key)
            if record:
                record.result = result
        if iidfile is not None:
            write_result(iidfile, result.image_id)
        if metadata_file is not None:
            _write_metadata(metadata_file, result, warnings)
        _tell(request, result, quiet=quiet)
        if report is not None and not quiet:
            print(f"wrote {report}", file=sys.stderr)
        return 0

    return run_async(work)


def _recorded(report: Path | None, request: BuildRequest) -> AbstractAsyncContextManager[Recording | None]:
    if report is None:
        return nullcontext()
    from kubectl_build.cli.report_file import recorded  # what writes pages is not imported for other builds

    return recorded(report, request)


def run_call(
    request: BuildRequest, cluster: KubeFlags, *, mode: Mode, unnamed: bool, timeout: float | None, shared_key: SharedKey | None
) -> int:
    """Ask the frontend instead of building; its answer goes to stdout. Returns the exit code that it asks for."""
    from kubectl_build.cli.call import show_call
    from kubectl_build.pipeline import call

    assert request.call is not None, "a call says what is asked"
    question = request.call

    async def work() -> int:
        activity, opened = Activity(), open_display(mode, sys.stderr, environ=os.environ)
        async with opened as display, limited(timeout, activity.words), connected_for(request, cluster) as kube:
            chosen = await with_preference(request, kube, emit=display.update, environ=os.environ) if unnamed else request
            result = await call(chosen, kube, emit=activity.before(display.update), environ=os.environ, shared_key=shared_key)
        return show_call(result, question, out=sys.stdout, dockerfile=request.dockerfile.shown)

    return run_async(work)


def run_plan(
    request: BuildRequest, cluster: KubeFlags, *, as_json: bool, unnamed: bool, timeout: float | None, shared_key: SharedKey | None
) -> int:
    """Print the plan on stdout and stop. Notes go to stderr."""
    from kubectl_build.pipeline import plan_only

    async def work() -> int:
        activity = Activity()
        async with limited(timeout, activity.words), connected_for(request, cluster) as kube:
            chosen = await with_preference(request, kube, emit=note, environ=os.environ) if unnamed else request
            plan = await plan_only(chosen, kube, emit=activity.before(note), environ=os.environ, shared_key=shared_key)
        print(json.dumps(_plan_document(plan), indent=2) if as_json else plan.table())
        if not plan.certain and not as_json:
            print("no builder runs yet: this is what the nodes alone decide; the Dockerfile's steps may change it", file=sys.stderr)
        return 0

    return run_async(work)


def _plan_document(plan: Plan) -> dict[str, object]:
    platforms = [{"platform": str(a.platform), "mode": a.mode.value, "pool": a.pool, "why": a.why} for a in plan.assignments]
    return {"certain": plan.certain, "platforms": platforms}


def _metadata_provenance(environ: Mapping[str, str]) -> str:
    """How much provenance --metadata-file gets: "min", "max", or "" for none (docker/buildx util/confutil/metadata.go)."""
    said = environ.get("BUILDX_METADATA_PROVENANCE", "")
    if said in ("min", "max"):
        return said
    return "" if said == "disabled" or parse_bool(said) is False else "min"


def _write_metadata(file: Path, result: BuildResult, warnings: Warnings) -> None:
    document = dict(result.metadata_document())
    if warnings.found and parse_bool(os.environ.get("BUILDX_METADATA_WARNINGS", "")):
        document["buildx.build.warnings"] = [warning_document(warning) for warning in warnings.found]
    write_result(file, json.dumps(document, indent=2) + "\n")


def _tell(request: BuildRequest, result: BuildResult, *, quiet: bool) -> None:
    if quiet:
        if result.image_id:
            print(result.image_id)
        return
    if not request.outputs:
        print("the result is only in the builder's cache: add --push to send it to a registry, or --output for files", file=sys.stderr)
    for name in result.pushed:
        print(f"pushed {name}@{result.digest}", file=sys.stderr)
    for output in request.outputs:
        if output.dest not in (None, "-"):
            print(f"wrote {output.dest}", file=sys.stderr)
