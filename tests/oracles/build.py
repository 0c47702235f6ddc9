"""Builds the Go programs of this directory, each of which prints what somebody else's library answers, and asks them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent


def ask(name: str, questions: Iterable[object]) -> list[Any]:
    """Return the answers (JSON lines, or raw text where a line is no JSON) of oracle `name`, one for each of `questions` (JSON values).

    Skips the test when Go is missing.
    """
    asked = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([build(name)], input=asked, capture_output=True, text=True, timeout=50, check=True)
    return [json.loads(line) if line.startswith("{") else line for line in done.stdout.rstrip("\n").split("\n")]


@functools.cache
def build(name: str) -> Path:
    """Return the executable of oracle `name`, kept outside the checkout and built again when its sources change."""
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"go is missing: the oracle {name} cannot be built")
    source = _HERE / name
    content = b"".join(path.read_bytes() for path in sorted(source.iterdir()) if path.is_file())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubectl-build" / "oracles"
    binary = cache / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = binary.with_suffix(f".{os.getpid()}")
        subprocess.run([go, "build", "-o", str(partial), "."], cwd=source, check=True, timeout=300)
        partial.rename(binary)
    return binary
