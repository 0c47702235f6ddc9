"""One private temporary directory for what the command line makes for a build, removed whatever happens."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

from kubectl_build.errors import UsageError


class PrivateDirectory:
    """A directory that only this user can open, made at the first `path()`."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def path(self) -> Path:
        """The directory. Raises UsageError when it cannot be made."""
        if self._path is None:
            try:
                self._path = Path(tempfile.mkdtemp(prefix="kubectl-build-"))
            except OSError as error:
                where = tempfile.gettempdir() if tempfile.tempdir else "the temporary directory"
                raise UsageError(f'no directory can be made in "{where}": {error.strerror}', hint="TMPDIR names another one") from error
        return self._path

    def make(self, name: str) -> Path:
        """A new empty directory in it."""
        directory = self.path() / name
        directory.mkdir(mode=0o700)
        return directory

    def remove(self) -> None:
        """Remove it with all that is in it. Nothing is told: there is nothing left to do about it."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)


@contextmanager
def private_directory() -> Iterator[PrivateDirectory]:
    """A PrivateDirectory that is removed on leaving, also after an error or a signal."""
    directory = PrivateDirectory()
    try:
        with _signals_as_exceptions():
            yield directory
    finally:
        directory.remove()


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block by an exception, so that it cleans up. One that is ignored (nohup) stays ignored.

    An event loop that runs inside the block takes the signals over, and leaves them at their defaults.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        raise typer.Exit(128 + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    taken = [name for name in names if before[name] is signal.SIG_DFL]
    for name in taken:
        signal.signal(getattr(signal, name), leave)
    try:
        yield
    finally:
        for name in taken:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
