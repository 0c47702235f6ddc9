"""From an exception to words on stderr and an exit code."""

from __future__ import annotations

from typing import TextIO

from kubectl_build.errors import Forbidden, KubectlBuildError, SolveError
from kubectl_build.model.source import excerpt_lines
from kubectl_build.progress.escape import clean


def show_error(error: KubectlBuildError, stream: TextIO) -> int:
    """Write what went wrong and what to do next; return the exit code."""
    lines: list[str] = []
    if isinstance(error, SolveError):
        lines += _solve_lines(error)
    lines.append(f"error: {error.message}")
    if error.hint:
        lines.append(f"hint: {error.hint}")
    lines += _role_lines(error)
    text = clean("\n".join(lines)).replace("\r", "") + "\n"
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
    return error.exit_code


def _role_lines(error: BaseException | None) -> list[str]:
    """The Role that has a right which was missing, also where that was only the cause of what is told."""
    seen: set[int] = set()  # the failure of a link is its own cause where a call that it broke raises it again
    while error is not None and not isinstance(error, Forbidden) and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    if not isinstance(error, Forbidden):
        return []
    from kubectl_build.builder.roles import granting  # few errors are about rights, and all else here is light

    role = granting(error)
    return [f"hint: the {role} grants it; for an admin: kubectl buildkit create --dry-run=client -o yaml --with-rbac"] if role else []


def _solve_lines(error: SolveError) -> list[str]:
    lines: list[str] = []
    if error.log_tail:
        lines += ["------", f" > {error.step}:", *error.log_tail, "------"]
    for source in error.sources:
        lines += excerpt_lines(source)
    return lines
