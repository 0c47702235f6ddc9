"""What --check and --call print, as docker buildx does (commands/build.go printResult, moby/buildkit frontend/subrequests)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from kubectl_build.buildkit.source import json_excerpt
from kubectl_build.buildkit.subrequest import CallResult
from kubectl_build.errors import ProtocolError, SolveError, SourceExcerpt
from kubectl_build.model.json import parse_json
from kubectl_build.model.request import Call
from kubectl_build.model.source import excerpt_lines
from kubectl_build.progress.escape import clean

_KNOWN_VERSION = (1, 0, 0)
"""Of each answer's structure. A newer one that comes with a text of its own is printed as that text."""

Document = Any
"""JSON as the frontend wrote it."""


def show_call(result: CallResult, call: Call, *, out: TextIO, dockerfile: str = "") -> int:
    """Print the frontend's answer on `out` and return the exit code: the status it asks for, unless the user ignores that.

    `dockerfile` is what the user calls the file; without it the frontend's name is shown. Raises SolveError for a Dockerfile that --check
    finds not to build (after printing its warnings), ProtocolError for an answer that cannot be read.
    """
    raw = _text(result, "result.json")
    if call.as_json and raw:
        _write(out, f"{raw}\n")
    else:
        _write(out, clean(_readable(result, call, raw, dockerfile)))
    if call.method in ("check", "lint"):
        _raise_build_error(_read(raw), dockerfile)
    return 0 if call.ignore_status else result.status


def _readable(result: CallResult, call: Call, raw: str, dockerfile: str) -> str:
    text = _text(result, "result.txt")
    show = _VIEWS.get(call.method)
    if show is None or (text and _version(_text(result, "version")) > _KNOWN_VERSION):
        return text or f"{raw}\n"
    document = _read(raw)
    try:
        return show(document, dockerfile)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ProtocolError(f"the frontend's answer to --call={call.method} has an unknown form: {error}") from error


def _check(document: Document, dockerfile: str) -> str:
    warnings: list[Document] = document.get("warnings") or []
    if not warnings:
        return "" if document.get("buildError") else "Check complete, no warnings found.\n"
    sources: list[Document] = document.get("sources") or []
    count = "1 warning has been found!" if len(warnings) == 1 else f"{len(warnings)} warnings have been found!"
    lines = [f"Check complete, {count}"]
    for warning in sorted(warnings, key=lambda warning: _place(warning, sources)):
        url = f" - {warning['url']}" if warning.get("url") else ""
        lines += ["", f"WARNING: {warning.get('ruleName', '')}{url}", warning.get("detail", "")]
        lines += excerpt_lines(_excerpt(warning, sources, dockerfile))
    return "\n".join(lines) + "\n"


def _place(warning: Document, sources: Sequence[Document]) -> tuple[int, str, int, int, str]:
    """Where a warning stands in the list: those that point nowhere first, then by file and line."""
    location = warning.get("location") or {}
    index, ranges, rule = location.get("sourceIndex", 0), location.get("ranges") or (), warning.get("ruleName", "")
    if index < 0:
        return (0, "", 0, 0, rule)
    name = sources[index].get("filename", "")
    if not ranges:
        return (1, name, 0, 0, rule)
    return (1, name, 1, (ranges[0].get("start") or {}).get("line", 0), "")


def _excerpt(item: Document, sources: Sequence[Document], dockerfile: str) -> SourceExcerpt:
    location = item.get("location") or {}
    index = location.get("sourceIndex", 0)
    return json_excerpt(sources[index] if 0 <= index < len(sources) else {}, location.get("ranges") or (), filename=dockerfile)


def _raise_build_error(document: Document, dockerfile: str) -> None:
    error = document.get("buildError") if isinstance(document, dict) else None
    if error:
        raise SolveError(str(error.get("message", "")), sources=(_excerpt(error, document.get("sources") or [], dockerfile),))


def _outline(document: Document, dockerfile: str) -> str:
    parts = []
    if document.get("name") or document.get("description"):
        rows = [("TARGET:", document.get("name") or "(default)")]
        if document.get("description"):
            rows.append(("DESCRIPTION:", document["description"]))
        parts.append(_columns(rows, 1))
    if args := document.get("args"):
        rows3 = [(arg["name"], arg.get("value", ""), arg.get("description", "")) for arg in args]
        parts.append(_columns([("BUILD ARG", "VALUE", "DESCRIPTION"), *rows3], 3))
    for key, title in (("secrets", "SECRET"), ("ssh", "SSH")):
        if items := document.get(key):
            parts.append(_columns([(title, "REQUIRED"), *((i["name"], "true" if i.get("required") else "") for i in items)], 3))
    return "".join(f"{part}\n" for part in parts)


def _targets(document: Document, dockerfile: str) -> str:
    rows = [("TARGET", "DESCRIPTION")]
    for target in document.get("targets") or ():
        name, default = target.get("name", ""), target.get("default", False)
        rows.append((f"{name} (default)".lstrip() if default else name, target.get("description", "")))
    return _columns(rows, 1)


def _requests(document: Document, dockerfile: str) -> str:
    rows = [(item["name"].removeprefix("frontend."), item["version"], item["description"]) for item in document]
    return _columns([("NAME", "VERSION", "DESCRIPTION"), *rows], 1)


_VIEWS: Mapping[str, Callable[[Document, str], str]] = {
    "check": _check,
    "lint": _check,
    "outline": _outline,
    "targets": _targets,
    "subrequests.describe": _requests,
}


def _columns(rows: Sequence[Sequence[str]], padding: int) -> str:
    """Rows with aligned columns, as Go's text/tabwriter sets them: the last column as it is, an empty one beside it still padded."""
    widths = [max(len(row[column]) for row in rows) + padding for column in range(len(rows[0]) - 1)]
    return "".join("".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1], "\n"]) for row in rows)


def _read(raw: str) -> Document:
    try:
        return parse_json(raw) if raw else {}
    except ValueError as error:
        raise ProtocolError(f"the frontend's answer is no JSON: {error}") from error


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _text(result: CallResult, key: str) -> str:
    return result.metadata.get(key, b"").decode("utf-8", "replace")


def _write(out: TextIO, text: str) -> None:
    """Write what the stream can encode, the rest as escapes."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    out.write(text.encode(encoding, "backslashreplace").decode(encoding))
    out.flush()
