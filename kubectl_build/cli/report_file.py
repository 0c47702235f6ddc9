"""--report: a page about a build, written when it ends, however it ends."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

from kubectl_build.cli.errors import show_error
from kubectl_build.cli.files import write_result_bytes
from kubectl_build.errors import KubectlBuildError, most_telling
from kubectl_build.model.events import BuildEvent, Sink
from kubectl_build.model.inputs import LocalContext, RemoteContext
from kubectl_build.model.masking import masked_command, masked_text
from kubectl_build.model.observed import Observer
from kubectl_build.model.request import BuildRequest
from kubectl_build.model.result import BuildResult
from kubectl_build.report.collect import Collector
from kubectl_build.report.facts import Heading
from kubectl_build.report.page import render_page


class Recording:
    """A build that is being recorded. `observe` is what the build is given besides its sink; `result` is set when it has one."""

    def __init__(self) -> None:
        self._collector = Collector(live=True)
        self._began = time.time()
        self.observe: Observer = self._collector.observe
        self.result: BuildResult | None = None

    def before(self, emit: Sink) -> Sink:
        """A sink that records what goes to `emit`."""

        def record(event: BuildEvent) -> None:
            self._collector.event(event, time.time())
            emit(event)

        return record

    def page(self, request: BuildRequest, error: BaseException | None) -> bytes:
        """The page of the build as it stands now."""
        facts = self._collector.facts(began=self._began, ended=time.time())
        status, words = ("completed", "") if error is None else _failure(error)
        heading = Heading(
            title=_title(request), status=status, error=words, command=masked_command(_command()), facts=_facts(request, self.result)
        )
        return render_page(heading, facts)


@asynccontextmanager
async def recorded(path: Path, request: BuildRequest) -> AsyncIterator[Recording]:
    """Record what happens in the body, and write its page to `path` when it ends. Raises UsageError where that cannot be written, but
    then what the body raised counts for more."""
    recording = Recording()
    try:
        yield recording
    except BaseException as error:
        try:
            write_result_bytes(path, recording.page(request, error))
        except KubectlBuildError as trouble:
            print(f"warning: {trouble.message}", file=sys.stderr)
        raise
    await asyncio.to_thread(write_result_bytes, path, recording.page(request, None))


def _failure(error: BaseException) -> tuple[str, str]:
    cause = most_telling(error) if isinstance(error, Exception) else error
    if isinstance(cause, asyncio.CancelledError):
        return "canceled", "The build was interrupted."
    if not isinstance(cause, KubectlBuildError):
        return "failed", type(cause).__name__
    words = StringIO()
    show_error(cause, words)
    return "failed", words.getvalue().rstrip()


def _command() -> list[str]:
    program = Path(sys.argv[0]).name
    return ["kubectl", program.removeprefix("kubectl-"), *sys.argv[1:]] if program.startswith("kubectl-") else [program, *sys.argv[1:]]


def _title(request: BuildRequest) -> str:
    if request.names:
        return str(request.names[0])
    if isinstance(request.context, RemoteContext):
        return masked_text(request.context.url)
    return request.context.path.absolute().name if isinstance(request.context, LocalContext) else "build"


def _facts(request: BuildRequest, result: BuildResult | None) -> Mapping[str, str]:
    return {
        "Builder": masked_text(request.builder),
        "Names": ", ".join(str(name) for name in request.names),
        "Digest": result.digest if result else "",
        "Target": request.target,
    }
