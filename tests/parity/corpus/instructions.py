"""What Dockerfiles say: the instructions and their flags."""

from __future__ import annotations

from tests.parity.case import Case, Site
from tests.parity.corpus import files

_TREE = {"a": "a\n", "dir/b": "b\n", "dir/deep/c": "c\n", "dir/deep/d.md": "d\n"}

_RUN = """\
FROM busybox
RUN echo one >/one && ln -s one /two && mkdir -p /deep/er && chown 7:8 /deep
RUN ["touch", "/three"]
SHELL ["/bin/sh", "-ec"]
RUN echo $0 >/four; rm /one
"""
_HEREDOCS = """\
FROM busybox
ARG WHO=world
RUN <<EOF
echo "hello $WHO" >/hello
  echo indented >>/hello
EOF
RUN <<-'TABS' cat >/tabs
\tno $WHO
\tTABS
COPY <<first.txt <<"second.txt" /files/
hello ${WHO}
first.txt
hello ${WHO}
second.txt
COPY --chmod=755 <<EOF /script.sh
#!/bin/sh
echo hi
EOF
RUN <<EOF
#!/bin/sh -e
echo "with an interpreter" >/interpreted
EOF
"""
_ONBUILD = """\
FROM busybox AS base
ONBUILD ARG WHAT=nothing
ONBUILD COPY . /app/
ONBUILD RUN echo built $WHAT >/built
ONBUILD LABEL what=$WHAT
FROM base AS middle
FROM middle
RUN cat /built >/again
"""
_LINK = """\
FROM scratch AS files
COPY --link dir /files/
FROM busybox
COPY --link a /linked/a
COPY --link --chown=5:6 dir /linked/dir/
COPY --link --from=files /files/deep /bin/deep
RUN ls -lnR /linked >/list
"""
_PARENTS = """\
FROM scratch
COPY --parents a dir/deep/c /parents/
COPY --parents dir/./deep/*.md /pivot/
COPY --parents **/*.md /all/
"""
_CHMOD = """\
FROM busybox
COPY --chmod=4711 a /octal
COPY --chmod=u=rwX,go=rX dir /symbolic/
COPY --chmod=0 --chown=nobody:root a /none
COPY --chown=12:34 dir /owned/
ADD --chmod=640 --chown=99 dir/b /added
"""
_EXCLUDE = """\
FROM scratch AS all
COPY --exclude=*.md --exclude=dir/b . /some/
FROM scratch
COPY --from=all --exclude=**/a /some/ /fewer/
ADD --exclude=deep dir /added/
"""
_SYMLINKS = """\
FROM scratch AS made
COPY . /tree/
FROM scratch
COPY to-file /followed
COPY to-dir/ /through/
COPY to-dir/inner /one
COPY dir/up* /wild/
COPY --from=made /tree/to-dir/inner /from-stage
COPY --from=made /tree/absolute /tree/up /links/
ADD to-dir/inner /added
"""
_ADD = """\
FROM scratch
ADD plain.tar /plain/
ADD packed.tar.gz /gz/
ADD packed.tar.xz /xz/
ADD packed.tar.bz2 /bz2/
ADD not-a-tar.gz /kept/
ADD {http}/packed.tar.gz /url/
ADD --checksum=sha256:c5acc4ae7d85cda11df11e6bc0c06ab55bffbd2b3db121d0a9e3ebb98bd98cac {http}/file.txt /url/
ADD --unpack=true {http}/packed.tar.gz /unpacked/
ADD --keep-git-dir=false {http}/repo.git#main:sub /git/
"""
_STAGES = """\
ARG BASE=busybox
FROM $BASE AS base
RUN echo base >/base
FROM scratch AS never
RUN this stage is not built
FROM base AS left
RUN echo left >/left
FROM base AS right
COPY --from=left /left /right
FROM never AS neither
COPY --from=nowhere.invalid/image:tag /x /x
FROM scratch
COPY --from=right /right /base /
COPY --from=0 /base /zero
COPY --from=busybox /bin/busybox /busybox
"""
_CONFIG = """\
FROM busybox
LABEL a=1 "b c"="2 3" multi="line \\
  two"
ENV ONE=1 TWO="$ONE 2" THREE=${ONE:+set}${NONE:-unset}
EXPOSE 80 90/udp 100-102
VOLUME /data ["/more"]
USER 5:6
WORKDIR /not/there
WORKDIR relative
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --timeout=1s --start-period=2s --retries=4 CMD ["true"]
MAINTAINER somebody
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "echo $ONE"]
"""
_ARGS = """\
ARG VERSION=1
ARG STAGE=plain
FROM busybox AS plain
FROM busybox AS fancy
ENV FANCY=yes
FROM $STAGE
ARG VERSION
ARG EMPTY
ARG FROM_CLIENT=default
ARG TARGETPLATFORM
ARG TARGETOS
RUN echo "$VERSION/$EMPTY/$FROM_CLIENT/$FANCY/$TARGETPLATFORM/$TARGETOS/$http_proxy" >/args
"""
_DIRECTIVES = """\
# syntax=docker/dockerfile:1
# escape=`
# check=skip=all
from busybox
run echo one `
    two >/words
# a comment
copy a C:`a
"""


def _add(site: Site) -> None:
    content = {"in/one": "1\n", "in/two/three": "3\n"}
    for name in ("plain.tar", "packed.tar.gz", "packed.tar.xz", "packed.tar.bz2"):
        files.write_tar(site.context / name, content)
    files.write_gzip(site.context / "not-a-tar.gz", b"text\n")
    files.write_tar(site.www / "packed.tar.gz", content)
    files.write_fixed(site.www / "file.txt", b"served\n")
    files.write_repository(site.www / "repo.git", {"sub/f": "from git\n", "other": "no\n"})


def _links(site: Site) -> None:
    for name, target in {
        "to-file": "a",
        "to-dir": "dir",
        "dir/inner": "deep/c",
        "up": "dir/up",
        "dir/up": "../a",
        "dir/up2": "deep",
        "absolute": "/tree/a",
        "dangling": "nowhere",
    }.items():
        (site.context / name).symlink_to(target)


CASES: tuple[Case, ...] = (
    Case(name="copy", shows="COPY of files and directories", dockerfile="FROM scratch\nCOPY a dir/ /x/\nCOPY . /all/\n", files=_TREE),
    Case(name="run", shows="RUN in shell and exec form, SHELL, files removed and owned", dockerfile=_RUN),
    Case(name="heredocs", shows="heredocs of RUN and COPY", dockerfile=_HEREDOCS, files=_TREE),
    Case(name="onbuild", shows="ONBUILD, through two stages", dockerfile=_ONBUILD, files=_TREE, args=("--build-arg", "WHAT=something")),
    Case(name="copy-link", shows="COPY --link", dockerfile=_LINK, files=_TREE),
    Case(name="copy-parents", shows="COPY --parents", dockerfile=_PARENTS, files=_TREE),
    Case(name="copy-chmod", shows="COPY and ADD with --chmod and --chown", dockerfile=_CHMOD, files=_TREE),
    Case(name="copy-exclude", shows="COPY and ADD with --exclude", dockerfile=_EXCLUDE, files=_TREE),
    Case(name="copy-symlinks", shows="symlinks through COPY and ADD", dockerfile=_SYMLINKS, files=_TREE, prepare=_links),
    Case(name="add", shows="ADD of archives, of URLs with a checksum, of git", dockerfile=_ADD, prepare=_add),
    Case(name="stages", shows="many stages, some unused and impossible", dockerfile=_STAGES),
    Case(name="target", shows="--target, a stage that is not the last", dockerfile=_STAGES, args=("--target", "left")),
    Case(
        name="config",
        shows="what goes into the config: LABEL, ENV, EXPOSE, VOLUME, USER, HEALTHCHECK, ...",
        dockerfile=_CONFIG,
        args=("--label", "a=over", "--label", "empty", "--label=spaces=x y"),
    ),
    Case(
        name="build-arg",
        shows="--build-arg: given, empty, from the environment, choosing a stage",
        dockerfile=_ARGS,
        args=(
            *("--build-arg", "VERSION=2=3", "--build-arg", "EMPTY=", "--build-arg=FROM_CLIENT", "--build-arg", "STAGE=fancy"),
            *("--build-arg", "NOT_SET", "--build-arg", "http_proxy=http://proxy.invalid"),
        ),
        env={"FROM_CLIENT": "client's"},
    ),
    Case(
        name="odd-values",
        shows="arguments and labels with newlines, quotes, several scripts",
        dockerfile='FROM busybox\nARG A\nARG B\nRUN printf \'%s|%s\' "$A" "$B" >/args\nLABEL got=$B\n',
        args=(
            "--build-arg",
            'A=one\ntwo, "three" $four',
            "--build-arg=B=\u0394\u05d0\u6587=",
            "--label",
            'x=\u00e9,"y"\n',
            "--label=dots.a/b-c=1",
        ),
    ),
    Case(name="directives", shows="a remote frontend by # syntax, # escape, # check", dockerfile=_DIRECTIVES, files={"a": "a\n"}),
    Case(
        name="syntax-arg",
        shows="a remote frontend by BUILDKIT_SYNTAX",
        dockerfile="FROM busybox\nCOPY a /\nRUN echo x >/x\n",
        files={"a": "a\n"},
        args=("--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1"),
    ),
)
