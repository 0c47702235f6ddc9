"""The Go program that answers what moby/patternmatcher and tonistiigi/fsutil answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.oracles.build import build


class Oracle:
    """The running program: one JSON line in, one out."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question: Any) -> dict[str, Any]:
        """Return {"matches", "entries", "error"}."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the program."""
        self._process.communicate(timeout=10)


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """Build and start the program. Skips where Go is missing."""
    running = Oracle(build("patterns"))
    yield running
    running.close()
