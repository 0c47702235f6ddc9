"""The k=v grammars of the command line, spelled as `docker buildx build` spells them (pure).

Rules of --output: docker/buildx util/buildflags/export.go: a lone value is a local directory, a lone "-" a tar on stdout, keys are
lower-cased, values may be quoted as in CSV.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kubectl_build.errors import UsageError
from kubectl_build.model.reference import Reference, parse_reference
from kubectl_build.model.request import Output, OutputType

_FILE_TYPES = (OutputType.TAR, OutputType.OCI, OutputType.DOCKER)


def parse_fields(flag: str, text: str) -> list[str]:
    """Split one CSV value. Raises UsageError that names the flag."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UsageError(f'{flag} "{text}" is not valid CSV: {error}') from error
    return rows[0] if rows else []


def parse_output(text: str) -> Output | None:
    """Parse one --output. None for type=cacheonly, which exports nothing. Raises UsageError."""
    fields = parse_fields("--output", text)
    if len(fields) == 1 and "=" not in fields[0]:
        if fields[0] == "-":
            return Output(type=OutputType.TAR, dest="-")
        return Output(type=OutputType.LOCAL, dest=fields[0])
    attrs: dict[str, str] = {}
    for item in fields:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f'--output "{text}": "{item}" is not of the form key=value')
        attrs[key.strip().lower()] = value
    kind = attrs.pop("type", "")
    dest = attrs.pop("dest", None)
    if not kind:
        raise UsageError(f'--output "{text}" has no type', hint="write --output type=local,dest=DIR or type=registry")
    if kind == "cacheonly":
        return None
    if kind == "registry":
        kind, attrs = "image", {"push": "true", **attrs}
    if kind not in tuple(OutputType):
        known = ", ".join(["registry", "cacheonly", *OutputType])
        raise UsageError(f'--output "{text}": type "{kind}" is not known', hint=f"types are {known}")
    return _with_dest(text, OutputType(kind), attrs, dest)


def _with_dest(text: str, kind: OutputType, attrs: dict[str, str], dest: str | None) -> Output:
    if kind is OutputType.IMAGE and dest is not None:
        raise UsageError(f'--output "{text}": dest is for files, an image has a name', hint="use type=oci,dest=FILE for a file")
    if kind is OutputType.LOCAL:
        if not dest or dest == "-":
            raise UsageError(f'--output "{text}": a local output needs dest=DIRECTORY')
    elif kind in _FILE_TYPES:
        dest = dest or "-"
    return Output(type=kind, attrs=attrs, dest=dest)


def with_push(outputs: Iterable[Output]) -> tuple[Output, ...]:
    """Apply --push: image outputs are pushed; where there is none, one is added (as buildx does)."""
    result = [replace(o, attrs={**o.attrs, "push": "true"}) if o.type is OutputType.IMAGE else o for o in outputs]
    if not any(o.type is OutputType.IMAGE for o in result):
        result.append(Output(type=OutputType.IMAGE, attrs={"push": "true"}))
    return tuple(result)


def check_outputs(outputs: Iterable[Output], tags: tuple[Reference, ...]) -> None:
    """Raise UsageError for outputs that contradict each other or lack a name."""
    stdout = [o for o in outputs if o.dest == "-"]
    if len(stdout) > 1:
        raise UsageError(f"{len(stdout)} outputs want to write to stdout", hint="give all but one of them dest=FILE")
    for output in outputs:
        if output.pushes and not tags and not output.attrs.get("name"):
            raise UsageError("a tag is needed to push: no --tag is given and no output has name=", hint="add -t REGISTRY/NAME:TAG")
        if output.pushes:
            _check_names(output, tags)


def _check_names(output: Output, tags: tuple[Reference, ...]) -> None:
    for name in output.names:
        if name.digest:
            raise UsageError(f'output name "{name}" has a digest: a build cannot choose its digest', hint="leave out the part from @")
    tagged = next((name for name in tags or output.names if name.tag != "latest"), None)
    if output.by_digest and tagged:
        raise UsageError(f'push-by-digest writes no tag, and "{tagged}" has one', hint=f"name the repository only: {tagged.repository}")


def parse_build_args(texts: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Parse --build-arg: K=V, or K for the value of the environment, left out when that has none. Raises UsageError."""
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key:
            raise UsageError(f'--build-arg "{text}" has no name', hint="write --build-arg NAME=VALUE")
        if equals:
            result[key] = value
        elif key in environ:
            result[key] = environ[key]
    return result


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Parse --label: K=V, or K for an empty value. Raises UsageError."""
    result: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise UsageError(f'--label "{text}" has no name', hint="write --label NAME=VALUE")
        result[key] = value
    return result


def parse_tags(texts: Iterable[str]) -> tuple[Reference, ...]:
    """Parse --tag values, dropping repeats. Raises UsageError; a digest in a tag is refused, since it names what exists already."""
    result: list[Reference] = []
    for text in texts:
        reference = parse_reference(text)
        if reference.digest:
            raise UsageError(f'tag "{text}" has a digest: a build cannot choose its digest', hint="leave out the part from @")
        if reference not in result:
            result.append(reference)
    return tuple(result)
