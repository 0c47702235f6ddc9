"""Makes text that others wrote (step output, names, errors) safe to print.

Colours (SGR), tabs and carriage returns stay. Every other escape sequence is removed, since it could move the cursor, set the
title or answer into the shell; every other control character is shown as `\\xNN`.
"""

from __future__ import annotations

import codecs
import re

_CSI = r"\x1b\[[0-?]*[ -/]*[@-~]"
_STRING = r"\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"
_SHORT = r"\x1b[ -/]*[0-Z\\`-~]"
_UNSAFE = re.compile(rf"{_CSI}|{_STRING}|{_SHORT}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]*\x1b?|[ -/]*)\Z")
_LONGEST_SEQUENCE = 4096


def _safe(match: re.Match[str]) -> str:
    found = match[0]
    if len(found) == 1:
        return f"\\x{ord(found):02x}"
    return found if _SGR.fullmatch(found) else ""


def clean(text: str) -> str:
    """Returns `text` without what could change the terminal; keeps line ends, tabs, carriage returns and colours."""
    return _UNSAFE.sub(_safe, text)


def clean_line(text: str) -> str:
    """Like `clean`, for what must stay one line without colours: a name, a status."""
    return _SGR.sub("", clean(text)).replace("\r", "").replace("\n", " ").replace("\t", " ")


def last_overwrite(line: str) -> str:
    """What a terminal shows of a line that a program has overwritten with carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]


class LogDecoder:
    """Decodes one step's output, which is cut anywhere: inside a character and inside an escape sequence."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def decode(self, data: bytes) -> str:
        """The safe text that is complete so far; the rest comes with the next call. Bytes that are no UTF-8 become U+FFFD."""
        text = self._held + self._decoder.decode(data)
        self._held = ""
        unfinished = _UNFINISHED.search(text) if "\x1b" in text[-_LONGEST_SEQUENCE:] else None
        if unfinished and len(unfinished[0]) < _LONGEST_SEQUENCE:
            self._held = unfinished[0]
            text = text[: unfinished.start()]
        return clean(text)
