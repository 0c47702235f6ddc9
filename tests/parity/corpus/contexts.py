"""Where contexts and Dockerfiles come from."""

from __future__ import annotations

from tests.parity.case import Case, Site
from tests.parity.corpus import files

_DOCKERFILE = "FROM busybox\nCOPY . /ctx/\nRUN find /ctx | sort >/list\n"
_TREE = {"Dockerfile": _DOCKERFILE, "a": "a\n", "dir/b": "b\n", ".dockerignore": "dir/dropped\n", "dir/dropped": "x\n"}
_NAMED = "FROM base AS start\nFROM scratch\nCOPY --from=start / /base/\nCOPY --from=extra / /extra/\nCOPY . /ctx/\n"


def _archive(name: str) -> Case:
    """The context as an archive on stdin."""

    def prepare(site: Site) -> None:
        files.write_tar(site.work / name, _TREE)

    return Case(name=f"stdin-{name.partition('.')[2]}", shows=f"context - : {name}", prepare=prepare, context="-", stdin="{work}/" + name)


def _stdin_other(site: Site) -> None:
    files.write_tar(site.work / "context.tar", {**_TREE, "sub/Other": "FROM scratch\nCOPY a dir /\n"})


def _served(site: Site) -> None:
    files.write_tar(site.www / "context.tar.gz", _TREE)
    files.write_fixed(site.www / "Dockerfile", b"FROM busybox\nRUN echo served >/served\n")


def _served_and_dockerfile(site: Site) -> None:
    _served(site)
    files.write_fixed(site.work / "D", b"FROM scratch AS first\nCOPY dir /dir/\nFROM first AS second\nCOPY a /\nFROM busybox\n")


def _repository(site: Site) -> None:
    files.write_repository(site.www / "repo.git", {**_TREE, "sub/Dockerfile": "FROM scratch\nCOPY . /\n", "sub/f": "f\n"})


def _repository_and_dockerfile(site: Site) -> None:
    _repository(site)
    files.write_fixed(site.work / "D", b"FROM busybox\nCOPY sub /from-git/\n")


def _named(site: Site) -> None:
    files.write_fixed(site.work / "extra" / "x" / "y", b"y\n")
    files.write_fixed(site.work / "extra" / ".dockerignore", b"dropped\n")
    files.write_fixed(site.work / "extra" / "dropped", b"no\n")
    files.write_fixed(site.work / "base" / "from-directory", b"base\n")
    files.write_tar(site.www / "extra.tar.gz", {"packed": "1\n"})
    files.write_repository(site.www / "extra.git", {"sub/f": "f\n", "g": "g\n"})


def _layout(site: Site) -> None:
    digest = files.write_layout(site.work / "layout", ("one", "latest"), {"/from-layout": "layout\n"})
    (site.work / "digest").write_text(digest)


_BASE = ("--build-context", "base=docker-image://busybox:stable")

CASES: tuple[Case, ...] = (
    _archive("context.tar"),
    _archive("context.tar.gz"),
    _archive("context.tar.bz2"),
    _archive("context.tar.xz"),
    Case(
        name="stdin-tar-file",
        shows="context - : a tar, --file within it",
        prepare=_stdin_other,
        args=("--file", "sub/Other"),
        context="-",
        stdin="{work}/context.tar",
    ),
    Case(
        name="stdin-dockerfile",
        shows="context - : a Dockerfile without a context",
        files={"D": "FROM busybox\nRUN echo alone >/alone\n"},
        context="-",
        stdin="{work}/context/D",
    ),
    Case(
        name="file-stdin",
        shows="-f - with a directory, whose .dockerignore counts",
        files={**_TREE, "Dockerfile": "FROM this.is.not/used"},
        prepare=lambda site: files.write_fixed(site.work / "D", _DOCKERFILE.encode()),
        args=("-f", "-"),
        stdin="{work}/D",
    ),
    Case(name="file-url", shows="-f URL with a directory", files={**_TREE}, prepare=_served, args=("-f", "{http}/Dockerfile")),
    Case(name="http-tar", shows="context: URL of a tar", prepare=_served, context="{http}/context.tar.gz"),
    Case(name="http-dockerfile", shows="context: URL of a Dockerfile", prepare=_served, context="{http}/Dockerfile"),
    Case(
        name="http-tar-file-stdin",
        shows="context: URL of a tar, Dockerfile on stdin, --target",
        prepare=_served_and_dockerfile,
        args=("--file=-", "--target", "second"),
        context="{http}/context.tar.gz",
        stdin="{work}/D",
    ),
    Case(name="git", shows="context: git URL", prepare=_repository, context="{http}/repo.git"),
    Case(
        name="git-subdirectory",
        shows="context: git URL with ref and directory; source-date-epoch as attribute of the output",
        prepare=_repository,
        # With the build argument SOURCE_DATE_EPOCH the daemon (BuildKit v0.31.2) fails on a git context's directory.
        env={"SOURCE_DATE_EPOCH": ""},
        args=("-t", "{name}", "-o", "type=image,push=true,rewrite-timestamp=true,source-date-epoch=0"),
        context="{http}/repo.git#v1:sub",
    ),
    Case(
        name="git-query",
        shows="context: git URL with a query, -f within it, keeping .git out",
        prepare=_repository,
        args=("-f", "sub/Dockerfile", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=0"),
        context="{http}/repo.git?branch=other",
    ),
    Case(
        name="git-file-stdin",
        shows="context: git URL, Dockerfile on stdin",
        prepare=_repository_and_dockerfile,
        args=("-f", "-"),
        context="{http}/repo.git#main",
        stdin="{work}/D",
    ),
    Case(
        name="named-directory",
        shows="--build-context NAME=DIRECTORY, with its .dockerignore, and in place of an image",
        dockerfile=_NAMED.replace("base AS", "base:latest AS"),
        files={"a": "a\n"},
        prepare=_named,
        args=("--build-context", "extra={work}/extra", "--build-context=base={work}/base"),
    ),
    Case(
        name="named-image",
        shows="--build-context NAME=docker-image://, and a stage's name",
        dockerfile=_NAMED,
        files={"a": "a\n"},
        prepare=_named,
        args=(*_BASE, "--build-context", "extra=docker-image://busybox"),
    ),
    Case(
        name="named-base",
        shows="--build-context in place of a base image, by a name written otherwise",
        dockerfile="FROM busybox\nRUN cat /etc/alpine-release >/which\n",
        args=("--build-context", "docker.io/library/busybox:latest=docker-image://alpine:3.20"),
    ),
    Case(
        name="named-url",
        shows="--build-context NAME=URL of a tar, of git",
        dockerfile=_NAMED + "COPY --from=repo / /repo/\n",
        files={"a": "a\n"},
        prepare=_named,
        args=(*_BASE, "--build-context=extra={http}/extra.tar.gz", "--build-context=repo={http}/extra.git#main:sub"),
    ),
    Case(
        name="named-layout",
        shows="--build-context NAME=oci-layout://DIRECTORY by tag, by digest, as base",
        dockerfile="FROM made\nCOPY --from=other /from-layout /again\nCOPY --from=third / /third/\n",
        prepare=_layout,
        args=(
            *("--build-context", "made=oci-layout://{work}/layout", "--build-context", "other=oci-layout://{work}/layout:one"),
            *("--build-context", "third=oci-layout://{work}/layout@{digest}"),
        ),
    ),
)
