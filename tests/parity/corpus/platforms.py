"""Several platforms: where `docker buildx build` has one daemon that emulates, and `kubectl build` has two pools or crosses."""

from __future__ import annotations

from tests.parity.case import Case, Kind
from tests.parity.corpus.flags import SCANNER

_SIX = "linux/386,linux/amd64,linux/arm/v6,linux/arm/v7,linux/arm64,windows/amd64"
_BOTH = ("--platform", "linux/amd64,linux/arm64")
_POOLS = ("amd64", "arm64")
_RUN = """\
FROM busybox
ARG TARGETPLATFORM TARGETARCH
RUN uname -m >/machine && echo "$TARGETPLATFORM" >/platform
COPY . /ctx/
RUN cat /ctx/a /machine >/both
LABEL arch=$TARGETARCH
"""
_CROSS = """\
FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETOS TARGETARCH TARGETVARIANT
RUN echo "for $TARGETOS $TARGETARCH $TARGETVARIANT" >/made
FROM scratch AS release-linux
COPY --from=build /made /made
FROM mcr.microsoft.com/windows/nanoserver:1809 AS release-windows
COPY --from=build /made /made.txt
FROM release-$TARGETOS
"""
_STAGES = """\
FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETARCH
RUN echo "built for $TARGETARCH" >/made
FROM busybox AS release
COPY --from=build --link /made /made
COPY <<EOF /text
for all
EOF
RUN cat /made /text >/both && uname -m >>/both
FROM release AS later
RUN false
"""
_WINDOWS = """\
FROM mcr.microsoft.com/windows/nanoserver:1809
USER ContainerAdministrator
WORKDIR C:\\\\app
COPY a dir/ C:/app/
COPY a file\\\\with\\\\backslashes
ENV A=%PATH%
ENTRYPOINT ["a.exe"]
"""
_FILES = {"a": "a\n", "dir/b": "b\n"}
_ANNOTATIONS = (
    *("--annotation", "manifest:on=all", "--annotation", "manifest[linux/arm64]:on=arm", "--annotation", "index:on=index"),
    *("--annotation", "manifest-descriptor:on=both", "--annotation=manifest-descriptor[linux/amd64]:on=amd"),
)


def _files(name: str, shows: str, output: str) -> Case:
    """A result of both pools on the client's machine."""
    args = (*_BOTH, "-t", "example.com/parity/pools:1", "-o", output)
    return Case(name=name, shows=shows, dockerfile=_RUN, files=_FILES, args=args, kind=Kind.OUTPUT, pools=_POOLS)


CASES: tuple[Case, ...] = (
    Case(name="pools", pools=_POOLS, shows="an index of two pools, steps run on each", dockerfile=_RUN, files=_FILES, args=_BOTH),
    Case(
        name="pools-order",
        pools=_POOLS,
        shows="platforms in the order asked for, as separate flags",
        dockerfile=_RUN,
        files=_FILES,
        args=("--platform=linux/arm64", "--platform", "linux/amd64"),
    ),
    Case(
        name="pools-annotations",
        pools=_POOLS,
        shows="two pools, annotations of every kind",
        dockerfile=_RUN,
        files=_FILES,
        args=(*_BOTH, *_ANNOTATIONS),
    ),
    Case(
        name="pools-provenance",
        pools=_POOLS,
        shows="two pools, provenance mode=max",
        dockerfile=_RUN,
        files=_FILES,
        args=(*_BOTH, "--provenance=mode=max"),
        kind=Kind.ATTESTED,
    ),
    Case(
        name="pools-sbom",
        pools=_POOLS,
        shows="two pools, SBOM and provenance",
        dockerfile=_RUN,
        files={**_FILES, **SCANNER},
        before=((*_BOTH, "-f", "Scanner", "-t", "{registry}/parity/{tool}/scanner:pools", "--push", "."),),
        args=(*_BOTH, "--sbom=generator={registry}/parity/{tool}/scanner:pools", "--provenance=true"),
        kind=Kind.ATTESTED,
    ),
    Case(
        name="pools-zstd",
        pools=_POOLS,
        shows="two pools, zstd and Docker's media types off",
        dockerfile=_RUN,
        files=_FILES,
        args=(*_BOTH, "-t", "{name}", "-o", "type=image,push=true,rewrite-timestamp=true,compression=zstd,oci-mediatypes=true"),
    ),
    Case(
        name="pools-docker-mediatypes",
        pools=_POOLS,
        shows="two pools, Docker's manifest list",
        dockerfile=_RUN,
        files=_FILES,
        args=(*_BOTH, "-t", "{name}", "-o", "type=image,push=true,rewrite-timestamp=true,oci-mediatypes=false"),
    ),
    Case(
        name="pools-inline-cache",
        pools=_POOLS,
        shows="two pools, inline cache in each config",
        # As in cache-inline: steps of its own.
        dockerfile=_RUN.replace("/both", "/both-inline"),
        files={"a": "inline of pools\n"},
        args=(*_BOTH, "--cache-to", "type=inline"),
        kind=Kind.TIMELESS,
    ),
    _files("pools-oci", "two pools into one OCI archive", "type=oci,dest={out}/image.tar,rewrite-timestamp=true"),
    _files("pools-oci-directory", "two pools into one OCI layout", "type=oci,tar=false,dest={out}/layout,rewrite-timestamp=true"),
    _files("pools-local", "two pools into one directory", "type=local,dest={out}/files"),
    _files("pools-tar", "two pools into one tar", "type=tar,dest={out}/files.tar"),
    Case(
        name="pools-stages",
        shows="two pools, each running the build stage itself and then steps of its platform",
        dockerfile=_STAGES,
        files=_FILES,
        args=(*_BOTH, "--target=release"),
        pools=_POOLS,
    ),
    Case(
        name="pools-local-name",
        shows="--platform local beside another, an epoch that is not zero",
        dockerfile=_RUN,
        files=_FILES,
        args=("--platform=linux/arm64,local",),
        env={"SOURCE_DATE_EPOCH": "1700000000"},
        pools=_POOLS,
    ),
    Case(
        name="one-of-two",
        shows="one platform that is not the daemon's",
        dockerfile=_RUN,
        files=_FILES,
        args=("--platform=linux/arm64",),
    ),
    Case(
        name="environment-platform",
        shows="DOCKER_DEFAULT_PLATFORM",
        dockerfile=_RUN,
        files=_FILES,
        env={"DOCKER_DEFAULT_PLATFORM": "linux/arm64"},
    ),
    Case(
        name="single-index",
        shows="one platform as an index",
        dockerfile=_RUN,
        files=_FILES,
        args=("--build-arg=BUILDKIT_MULTI_PLATFORM=1",),
    ),
    Case(name="cross", shows="five platforms crossed on one", dockerfile=_CROSS, args=("--platform", _SIX.removesuffix(",windows/amd64"))),
    Case(
        name="cross-windows",
        shows="six platforms crossed on one, Windows among them",
        dockerfile=_CROSS,
        args=("--platform", _SIX),
        kind=Kind.TIMELESS,
    ),
    Case(
        name="emulated",
        shows="steps of a platform that no node runs",
        dockerfile=_RUN,
        files=_FILES,
        args=("--platform=linux/s390x,linux/arm/v7,linux/amd64",),
    ),
    Case(
        name="windows",
        shows="a Windows image: files, users, paths",
        dockerfile=_WINDOWS,
        files=_FILES,
        args=("--platform=windows/amd64",),
        kind=Kind.TIMELESS,
    ),
    Case(
        name="windows-config",
        shows="a Windows image without a layer of its own",
        dockerfile="".join(line for line in _WINDOWS.splitlines(keepends=True) if not line.startswith(("COPY", "WORKDIR"))),
        args=("--platform=windows/amd64",),
    ),
)
