"""The two executables: kubectl-build and kubectl-buildkit. Exit codes, signals and the only event loop are decided here."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, NoReturn

import typer

from kubectl_build.cli.coercion import spare_conversions
from kubectl_build.cli.errors import show_error
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import KubectlBuildError, UsageError, most_telling
from kubectl_build.model.gobool import parse_bool

_SIGNALS = {name: 128 + getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)}

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_LEAVE_SECONDS = 1.0
"""What a second signal leaves for temporary files and the terminal to be put right."""


def build_main() -> NoReturn:
    """Entry point of `kubectl build`."""
    gc.disable()  # until all is loaded: nothing of that is garbage, and looking through it took a tenth of a small build's processor time
    from kubectl_build.cli.build import app

    _leave(run_app(app, "kubectl build", sys.argv[1:]))


def buildkit_main() -> NoReturn:
    """Entry point of `kubectl buildkit`."""
    gc.disable()
    from kubectl_build.cli.buildkit import app

    _leave(run_app(app, "kubectl buildkit", sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    """End the process without taking the interpreter apart, which takes a twelfth of a small build's processor time.

    Nothing is lost: what has a lifetime ended with its context manager, before the command returned its code; asyncio.run has waited for
    its threads; only what was printed may still be held back.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads it any more: there is nobody to tell
            stream.flush()
    os._exit(code)


def run_app(app: typer.Typer, prog: str, argv: list[str]) -> int:
    """Parse `argv`, run the command, return the exit code. Errors are told on stderr, without a traceback."""
    _occupy_closed_streams()
    command = typer.main.get_command(app)
    spare_conversions(command)
    try:
        deadlines()  # what is wrong in them is told before anything is asked
        outcome = command.main(args=_expand(argv, _switches(command)), prog_name=prog, standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as exit_:
        return exit_.exit_code
    except typer.Abort:
        return 130
    except (BrokenPipeError, SystemExit) as error:
        if not _is_broken_pipe(error):
            raise
        _discard_stdout()  # whoever read our output is gone: nothing to tell
        return 141
    except Exception as error:
        cause = most_telling(error)
        known = cause if isinstance(cause, KubectlBuildError) else _output_error(cause) or _usage_error(error, prog)
        if known is None:
            raise
        return show_error(known, sys.stderr)
    return outcome if isinstance(outcome, int) else 0


def _occupy_closed_streams() -> None:
    """Take the numbers of a stdout or stderr that the caller closed, so that no other file gets them and then what was meant for those."""
    if sys.stdout is not None and sys.stderr is not None:
        return
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest free number; an output to it is refused by the system
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives


def _is_broken_pipe(error: BaseException) -> bool:
    """Whether `error` is one, also as the exit that typer makes of it while a command prints."""
    return isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError)


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere: Python would try to write it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_error(error: BaseException) -> UsageError | None:
    """Words for a stdout that cannot be written; every other OSError is converted where it arises."""
    if not isinstance(error, OSError) or error.errno not in _UNWRITABLE or error.filename is not None:
        return None
    _discard_stdout()
    return UsageError(f"stdout cannot be written: {os.strerror(error.errno).lower()}")


def _usage_error(error: Exception, prog: str) -> UsageError | None:
    """What typer's parser refused, as our own error."""
    if not hasattr(error, "format_message"):
        return None
    text = error.format_message().rstrip(".").replace(": Value error, ", ": ").replace("(Possible", "(possible")
    text = text.replace(": Input should be", ": it is to be").partition(", unable to parse")[0]
    context = getattr(error, "ctx", None)
    return UsageError(text[:1].lower() + text[1:], hint=f"see: {context.command_path if context else prog} --help")


def _expand(argv: list[str], switches: Mapping[str, str]) -> list[str]:
    """Spell as typer knows it what docker and kubectl take: `--plan` without a value, and `--push=true`, `--push=false`.

    `switches` maps each option without a value to its opposite, "" where it has none.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    return [*(new for word in argv[:end] if (new := _spelled(word, switches)) is not None), *argv[end:]]


def _spelled(word: str, switches: Mapping[str, str]) -> str | None:
    if word == "--plan":
        return "--plan=table"
    name, equals, value = word.partition("=")
    said = parse_bool(value) if equals and name in switches else None
    if said is None:
        return word
    return name if said else switches[name] or None


def _switches(command: Any) -> dict[str, str]:
    """The long options without a value of a command, or of all commands of a group and its groups."""
    found = [param for param in command.params if getattr(param, "is_flag", False)]
    own = {name: next(iter(param.secondary_opts), "") for param in found for name in param.opts if name.startswith("--")}
    for inner in getattr(command, "commands", {}).values():
        own |= _switches(inner)
    return own


def run_async(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run `work` on a new event loop and return its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels it and waits for its clean-up; a second one cuts short what the clean-up waits for, and
    leaves within a second whatever happens; a third at once. Returns 128 plus the first one's number. A SIGHUP that whoever started us
    ignores (nohup) stays ignored.
    """

    import asyncio  # not for --help

    async def main() -> int:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work())
        received: list[int] = []

        def on_signal(code: int) -> None:
            received.append(code)
            if len(received) > 2:
                os._exit(code)
            if len(received) == 2:
                loop.call_later(_LEAVE_SECONDS, os._exit, received[0])
            task.cancel()

        for name, code in _SIGNALS.items():
            if name == "SIGHUP" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
                continue
            try:
                loop.add_signal_handler(getattr(signal, name), on_signal, code)
            except NotImplementedError:  # Windows has no signal handlers on event loops
                break
        try:
            return await task
        except (asyncio.CancelledError, KubectlBuildError):
            # What breaks while a cancelled command cleans up is a consequence, not news.
            if not received:
                raise
            print(f"interrupted by {signal.Signals(received[0] - 128).name}", file=sys.stderr)
            return received[0]

    if not gc.isenabled():  # what is loaded by now stays for good, so it need never be looked through
        gc.freeze()
        gc.enable()
    return asyncio.run(main())
