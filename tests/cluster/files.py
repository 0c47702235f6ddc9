"""Writing configuration files: only when they change, and never by half."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write(path: Path, content: str, mode: int = 0o644) -> Path:
    """Make `path` have this content; a file that has it already keeps its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != content:
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(content)
        partial.chmod(mode)
        partial.rename(path)
    return path


def write_json(path: Path, value: object, mode: int = 0o644) -> Path:
    """Write JSON, which every reader of YAML takes too."""
    return write(path, json.dumps(value, indent=2) + "\n", mode)
