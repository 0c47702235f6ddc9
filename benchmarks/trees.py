"""Build contexts: made on the spot, never the same bytes twice."""

from __future__ import annotations

import os
import random
import string
from collections.abc import Mapping
from pathlib import Path

MIB = 1024 * 1024
_PIECE = 4 * MIB

COPY_ALL = "FROM scratch\nCOPY . /\n"


def small(root: Path, files: Mapping[str, str]) -> Path:
    """A few files by hand. Their times differ, as those of a real tree do."""
    root.mkdir(parents=True)
    for age, (name, text) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000 + age, 1_700_000_000 + age))
    return root


def large(root: Path, dockerfile: str, *, files: int, size: int) -> Path:
    """Files of incompressible bytes; written piece by piece, since this program's own memory must stay small (see `timed`)."""
    small(root, {"Dockerfile": dockerfile})
    for number in range(files):
        with (root / f"data{number}").open("wb") as file:
            for _ in range(0, size, _PIECE):
                file.write(os.urandom(min(_PIECE, size)))
    return root


def many(root: Path, dockerfile: str, *, directories: int, each: int, size: int) -> Path:
    """Many small files, in directories of one level."""
    small(root, {"Dockerfile": dockerfile})
    for outer in range(directories):
        directory = root / f"d{outer:04}"
        directory.mkdir()
        data = os.urandom(size * each)
        for inner in range(each):
            (directory / f"f{inner:04}").write_bytes(data[inner * size : (inner + 1) * size])
    return root


def change(root: Path, count: int, size: int) -> None:
    """Give some files of `many` other bytes."""
    names = sorted(root.glob("d*/f*0"))
    for path in random.sample(names, count):
        path.write_bytes(os.urandom(size))


_IGNORE = """\
# What a project of several languages keeps out of its images.
.git
.github
**/.DS_Store
**/*.log
**/*.tmp
**/*.swp
**/*~
**/__pycache__
**/*.py[cod]
.venv
.mypy_cache
.pytest_cache
.coverage*
**/node_modules
**/npm-debug.log*
dist
build/*
!build/keep.txt
target
**/*.o
**/*.a
**/*.class
vendor/**/testdata
docs/_build
*.md
!README.md
.env*
**/secret*
coverage/**
Dockerfile.*
"""
_KINDS = (
    # directory, share of the files in percent, bytes of one, whether it is like text
    ("src", 45, 16_000, True),
    ("vendor", 20, 28_000, True),
    ("assets", 10, 6_000, False),
    ("node_modules", 15, 8_000, True),
    (".git/objects", 10, 28_000, False),
)


def rules() -> int:
    """How many rules the source tree's .dockerignore has."""
    return sum(bool(line) and not line.startswith("#") for line in _IGNORE.splitlines())


def _code(chosen: random.Random, size: int) -> bytes:
    """Text that gzip makes as small as code: 0.29 of its bytes. Measured: Kubernetes' tree 0.21, BuildKit's 0.25, Python packages 0.28.

    Words and lines are as frequent as they are by their rank in code (Zipf).
    """
    words = ["".join(chosen.choices(string.ascii_lowercase, k=chosen.randint(2, 11))) for _ in range(4000)]
    falling = [1 / rank for rank in range(1, len(words) + 1)]
    lines = ["\t" * chosen.randint(0, 4) + " ".join(chosen.choices(words, falling, k=chosen.randint(1, 9))) for _ in range(8000)]
    return "\n".join(chosen.choices(lines, [1 / (rank + 2) for rank in range(len(lines))], k=size // 30)).encode()


def source(root: Path, *, files: int) -> Path:
    """A source tree of some 17 KB a file, a quarter of the files kept out by its .dockerignore; text and binary."""
    small(root, {"Dockerfile": COPY_ALL, ".dockerignore": _IGNORE, "README.md": "# A project\n", "build/keep.txt": "kept\n"})
    chosen = random.Random(os.urandom(8))
    text = _code(chosen, 600_000)
    for place, percent, size, like_text in _KINDS:
        for number in range(files * percent // 100):
            directory = root / place / f"p{number // 40:03}"
            if number % 40 == 0:
                directory.mkdir(parents=True)
            length = int(size * chosen.uniform(0.3, 1.7))
            start = chosen.randrange(len(text) - 120_000)
            data = text[start : start + length] if like_text else os.urandom(length)
            (directory / f"f{number:05}.src").write_bytes(data)
    return root
