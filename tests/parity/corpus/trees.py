"""What directories hold: links, sizes, attributes, names, and what .dockerignore leaves of them."""

from __future__ import annotations

import os
import random

from tests.parity.case import Case, Site
from tests.parity.corpus import files

_ALL = "FROM scratch\nCOPY . /\n"
_LARGE = 40 << 20
_NAMES = (
    "plain",
    "with space",
    'quote\'s "two"',
    "back\\slash",
    "new\nline",
    "\u00e9 composed",
    "e\u0301 decomposed",
    "\u0391\u03b8\u03ae\u03bd\u03b1",
    "\u041c\u043e\u0441\u043a\u0432\u0430",
    "\u05d0\u05d1\u05d2",
    "\u0627\u0644\u0642\u0627\u0647\u0631\u0629",
    "\u0939\u093f\u0928\u094d\u0926\u0940",
    "\u4e2d\u6587/\u6587\u4ef6",
    "\u65e5\u672c\u8a9e",
    "\ud55c\uad6d\uc5b4",
    "\U0001f680 rocket",
    "-dash",
    "*star?[a]",
    "l" * 250,
    "a/" * 40 + "deep",
    "a.b",
    "a-b",
    "a0",
)
"""In several scripts; `a.b`, `a-b` and `a0` sort differently as names and as paths beside the directory `a`."""
_IGNORE = """\
# all but little
*
!src
src/*
!src/keep
!src/**/*.go
src/keep/secret*
!src/keep/secret.txt
.dockerignore
**/never
"""
_STRANGE_IGNORE = (
    "\ufeff# byte order mark\r\n/leading\r\ntrailing/\r\n./dotted\r\n  blanks  \r\n\r\n!\r\n".replace("!\r\n", "")
    + "a/*/c\nset[a-c]\nset[^x]1\nw?\n\\#hash\n**/any\nup/../clean\n!trailing/kept\nx/**\n!x/y/z\n"
)
_FOLLOWED = """\
FROM scratch
COPY absolute /1/
COPY out /2/
COPY chain /3/
COPY loop-free/ /4/
COPY d*/in?ide /5/
COPY ./dir/../a /6
COPY /dir/ /7
"""


def _followed(site: Site) -> None:
    targets = {"absolute": "/dir/inside", "out": "../../../dir/inside", "chain": "link-1", "link-1": "dir/link-2", "dir/link-2": "../a"}
    for name, target in {**targets, "loop-free": "./dir/./", "dir/self": "."}.items():
        (site.context / name).symlink_to(target)


def _hardlinks(site: Site) -> None:
    (site.context / "d").mkdir()
    for name in ("b", "d/c"):
        os.link(site.context / "a", site.context / name)
    os.link(site.context / "z", site.context / "d" / "first")


def _xattrs(site: Site) -> None:
    os.setxattr(site.context / "a", "user.color", b"blue")
    os.setxattr(site.context / "a", "user.bytes", bytes(range(256)))
    os.setxattr(site.context / "dir", "user.on.directory", b"")


def _large(site: Site) -> None:
    (site.context / "random").write_bytes(random.Random(1).randbytes(_LARGE))
    with (site.context / "sparse").open("wb") as file:
        file.seek(_LARGE // 2)
        file.write(b"middle")
        file.truncate(_LARGE)
    (site.context / "empty").touch()
    for size in (32 << 10, (32 << 10) + 1, (1 << 20) - 1):
        (site.context / f"size-{size}").write_bytes(random.Random(size).randbytes(size))


def _names(site: Site) -> None:
    for name in _NAMES:
        files.write_fixed(site.context / name, name[:40].encode())


def _modes(site: Site) -> None:
    for mode in (0o000, 0o400, 0o444, 0o644, 0o755, 0o777, 0o1644, 0o2755, 0o4755):
        path = site.context / f"file-{mode:04o}"
        path.write_text("x")
        path.chmod(mode)
    for mode in (0o700, 0o755, 0o1777, 0o2775):
        path = site.context / f"dir-{mode:04o}"
        path.mkdir()
        path.chmod(mode)
    owned = site.context / "owned"
    owned.write_text("x")
    os.chown(owned, 1234, 5678)
    os.mkfifo(site.context / "pipe")
    for name, seconds in (("old", 1), ("older", -100), ("future", 4_000_000_000), ("far", 13_569_465_600)):
        files.write_fixed(site.context / name, b"x")
        os.utime(site.context / name, (seconds, seconds))


def _many(site: Site) -> None:
    for number in range(3000):
        path = site.context / f"d{number % 37}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(number))


def _own_ignore_file(site: Site) -> None:
    files.write_fixed(site.work / "docker" / "App", _ALL.encode())
    files.write_fixed(site.work / "docker" / "App.dockerignore", b"dropped\n")
    files.write_fixed(site.context / ".dockerignore", b"kept\n")


CASES: tuple[Case, ...] = (
    Case(
        name="hardlinks",
        shows="hardlinks, whose first name may sort last",
        dockerfile=_ALL,
        files={"a": "a\n", "z": "z\n"},
        prepare=_hardlinks,
    ),
    Case(
        name="xattrs",
        shows="extended attributes of files and directories",
        dockerfile=_ALL,
        files={"a": "a", "dir/b": "b"},
        prepare=_xattrs,
    ),
    Case(name="large", shows="a file of 40 MiB, a sparse one, empty ones, sizes around the packets'", dockerfile=_ALL, prepare=_large),
    Case(name="names", shows="names in several scripts, with odd characters, long, and deep", dockerfile=_ALL, prepare=_names),
    Case(name="modes", shows="modes, owners, a named pipe, times before and after all others", dockerfile=_ALL, prepare=_modes),
    Case(name="many", shows="3000 files", dockerfile=_ALL, prepare=_many),
    Case(
        name="empty", shows="a context with nothing but a Dockerfile", dockerfile="FROM scratch\nCOPY . /\n", files={".dockerignore": "*\n"}
    ),
    Case(
        name="dockerignore",
        shows=".dockerignore with re-inclusion, ** and comments",
        dockerfile=_ALL,
        files={
            ".dockerignore": _IGNORE,
            **{
                name: name
                for name in (
                    *("top", "src/drop", "src/a.go", "src/x/y/b.go", "src/x/y/b.c", "src/keep/k", "src/keep/secret.key"),
                    *("src/keep/secret.txt", "src/keep/deep/never", "src/keep/deep/ever", "other/a.go"),
                )
            },
        },
    ),
    Case(
        name="dockerignore-strange",
        shows=".dockerignore with CRLF, a byte order mark, slashes, classes, escapes",
        dockerfile=_ALL,
        files={
            ".dockerignore": _STRANGE_IGNORE,
            **{
                name: name
                for name in (
                    *(
                        "leading",
                        "x/leading",
                        "trailing/gone",
                        "trailing/kept",
                        "dotted",
                        "blanks",
                        "a/b/c",
                        "a/b/d",
                        "a/c",
                        "seta",
                        "setd",
                    ),
                    *("setx1", "sety1", "wa", "wab", "#hash", "d/any", "any", "clean", "up/kept", "x/y/z", "x/y/w"),
                )
            },
        },
    ),
    Case(
        name="followed",
        shows="links that lead out, in chains, to absolute paths: what COPY asks of the context",
        dockerfile=_FOLLOWED,
        files={"a": "a\n", "dir/inside": "inside\n", "dir/b": "b\n"},
        prepare=_followed,
    ),
    Case(
        name="linked-places",
        shows="a context and a Dockerfile that are links",
        files={"real/a": "a\n", "real/sub/Build.file": _ALL, "real/sub/Build.file.dockerignore": "sub\n"},
        prepare=lambda site: (site.context / "link").symlink_to("real"),
        args=("-f", "link/sub/Build.file"),
        context="link",
    ),
    Case(
        name="dockerignore-own",
        shows="the ignore file of one Dockerfile, beside it and outside the context",
        files={"kept": "1", "dropped": "2", "inside/also": "3"},
        prepare=_own_ignore_file,
        args=("-f", "{work}/docker/App"),
    ),
)
