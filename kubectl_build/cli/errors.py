"""From an exception to words on stderr and an exit code."""

from __future__ import annotations

from typing import TextIO

from kubectl_build.errors import KubectlBuildError, SolveError
from kubectl_build.model.source import excerpt_lines


def show_error(error: KubectlBuildError, stream: TextIO) -> int:
    """Write what went wrong and what to do next; return the exit code."""
    lines: list[str] = []
    if isinstance(error, SolveError):
        lines += _solve_lines(error)
    lines.append(f"error: {error.message}")
    if error.hint:
        lines.append(f"hint: {error.hint}")
    text = "\n".join(lines) + "\n"
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
    return error.exit_code


def _solve_lines(error: SolveError) -> list[str]:
    lines: list[str] = []
    if error.log_tail:
        lines += ["------", f" > {error.step}:", *error.log_tail, "------"]
    for source in error.sources:
        lines += excerpt_lines(source)
    return lines
