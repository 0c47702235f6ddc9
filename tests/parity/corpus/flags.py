"""Flags that are not about what a Dockerfile or a context says."""

from __future__ import annotations

from tests.parity.case import Case, Kind, Site
from tests.parity.corpus import files

_DOCKERFILE = "FROM busybox AS one\nCOPY . /ctx/\nRUN sort /ctx/a >/sorted\nFROM one AS two\nRUN echo two >/two\n"
_FILES = {"a": "b\na\n"}
_PUSHED = ("-t", "{name}", "-o", "type=image,push=true,rewrite-timestamp=true")
_WARNS = "FROM busybox as base\nMAINTAINER somebody\nARG SECRET_TOKEN=x\nFROM base\nCOPY $nothing /x\n"
_OUTLINE = """\
# the version
ARG VERSION=1
# what base is for
FROM busybox AS base
ARG VERSION
RUN --mount=type=secret,id=token,required=true --mount=type=ssh true
# the last
FROM base AS release
# who it greets
ARG WHO=world
ARG CACHE
RUN --mount=type=cache,target=/cache true
"""
SCANNER = {
    "Scanner": 'FROM busybox\nCOPY --chmod=755 scan /scan\nENTRYPOINT ["/scan"]\n',
    "scan": """\
#!/bin/sh
files=$(find "$BUILDKIT_SCAN_SOURCE" -name sorted | wc -l)
cat >"$BUILDKIT_SCAN_DESTINATION/found.spdx.json" <<EOF
{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document", "predicate": {"found": $files}}
EOF
""",
}
"""The files of an image that says what it scanned in few words, as BuildKit's protocol for SBOM generators wants it."""


def _checkout(site: Site) -> None:
    files.write_repository(site.work / "checkout", {"Dockerfile": _DOCKERFILE, **_FILES}, origin="https://user:word@example.com/a/b.git")
    (site.work / "checkout" / ".git").rename(site.context / ".git")


def _call(name: str, *args: str, dockerfile: str = _OUTLINE, code: int = 0) -> Case:
    shows = " ".join(args)
    return Case(name=name, shows=shows, dockerfile=dockerfile, args=args, kind=Kind.OUTPUT, code=code)


CASES: tuple[Case, ...] = (
    Case(
        name="push",
        shows="--push with two --tag, the Dockerfile's name in small letters",
        files={**_FILES, "dockerfile": _DOCKERFILE},
        args=("--push", "-t", "{name}", "--tag={name}-second", "-o", "type=image,rewrite-timestamp=true"),
    ),
    Case(
        name="registry",
        shows="-o type=registry with names of its own",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        args=("-o", 'type=registry,"name={name},{name}-second",rewrite-timestamp=true,push=true'),
    ),
    Case(name="quiet", shows="--quiet: the image ID on stdout", dockerfile=_DOCKERFILE, files=_FILES, args=("--quiet", *_PUSHED)),
    Case(
        name="result-files",
        shows="--iidfile, --metadata-file, --progress=plain",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        args=("--iidfile", "{out}/iid", "--metadata-file={out}/metadata.json", "--progress=plain", *_PUSHED),
    ),
    Case(
        name="result-files-index",
        shows="the same for several platforms, --progress=rawjson",
        dockerfile="FROM scratch\nCOPY a /\n",
        files=_FILES,
        args=(
            *("--iidfile={out}/iid", "--metadata-file", "{out}/metadata.json", "--platform=linux/amd64,linux/s390x"),
            *("--progress=rawjson", *_PUSHED),
        ),
    ),
    Case(
        name="cache-registry",
        shows="--cache-to and --cache-from type=registry, mode=max",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        before=(("--cache-to", "type=registry,ref={registry}/parity/{tool}/cache:max,mode=max", "."),),
        args=("--no-cache", "--cache-from", "type=registry,ref={registry}/parity/{tool}/cache:max"),
    ),
    Case(
        name="cache-inline",
        shows="--cache-to type=inline, in the image's config; --cache-from NAME",
        # Records of other builds with the same steps would be in it too, so these are its own.
        dockerfile=_DOCKERFILE.replace("sorted", "sorted-inline"),
        files={"a": "inline\na\n"},
        args=("--cache-to=type=inline", "--cache-from={registry}/parity/{tool}/cache:none,{registry}/parity/{tool}/cache:nor-this"),
        kind=Kind.TIMELESS,
    ),
    Case(
        name="cache-local",
        shows="--cache-to and --cache-from type=local",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        before=(("--cache-to", "type=local,dest={work}/cache-{tool},mode=max", "."),),
        args=("--cache-from=type=local,src={work}/cache-{tool}", "--cache-to", "type=local,dest={work}/cache-{tool},tag=second"),
    ),
    Case(
        name="no-cache",
        shows="--no-cache and --pull, everything again",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        before=((".",),),
        args=("--no-cache", "--pull"),
    ),
    Case(
        name="no-cache-filter",
        shows="--no-cache-filter of two stages, --debug",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        before=((".",),),
        args=("--no-cache-filter", "one,two", "--debug"),
    ),
    Case(
        name="annotation",
        shows="--annotation of manifest, index and descriptors",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        args=(
            *("--annotation", "plain=1", "--annotation", "manifest,manifest-descriptor:both=2"),
            *("--annotation=manifest[linux/amd64]:only=3", "--annotation", "manifest:spaces=a b = c"),
        ),
    ),
    Case(
        name="attest-none",
        shows="--provenance=false --attest disabled: as without",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        args=("--provenance=false", "--attest", "type=sbom,disabled=true"),
    ),
    Case(
        name="provenance-min",
        shows="--provenance=mode=min",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        args=("--provenance=mode=min",),
        kind=Kind.ATTESTED,
    ),
    Case(
        name="provenance-max",
        shows="--attest type=provenance,mode=max with build arguments and labels",
        dockerfile="ARG A\n" + _DOCKERFILE,
        files=_FILES,
        args=("--attest", "type=provenance,mode=max,builder-id=https://example.com/builder", "--build-arg=A=1", "--label=l=2"),
        kind=Kind.ATTESTED,
    ),
    Case(
        name="provenance-git",
        shows="provenance of a context in a git checkout, with a login in the remote's URL",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        prepare=_checkout,
        args=("--provenance=mode=max",),
        kind=Kind.ATTESTED,
    ),
    Case(
        name="sbom",
        shows="--sbom with a generator of one's own, beside provenance",
        dockerfile=_DOCKERFILE,
        files={**_FILES, **SCANNER},
        before=(("-f", "Scanner", "-t", "{registry}/parity/{tool}/scanner:sbom", "--push", "."),),
        args=("--sbom=generator={registry}/parity/{tool}/scanner:sbom", "--provenance=true"),
        kind=Kind.ATTESTED,
    ),
    _call("check", "--check", dockerfile=_WARNS, code=1),
    _call("check-clean", "--call=check", dockerfile="FROM busybox\nRUN true\n"),
    _call("check-json", "--call=check,format=json,ignorestatus=true", dockerfile=_WARNS),
    _call("outline", "--call", "outline", "--target=release", "--build-arg=VERSION=7"),
    _call("outline-json", "--call=outline,format=json"),
    _call("targets", "--call=targets"),
    _call("targets-json", "--call=targets,format=json"),
    _call("subrequests", "--call=subrequests.describe"),
)
