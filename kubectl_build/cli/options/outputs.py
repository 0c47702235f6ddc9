"""--output, --push and --load.

Rules: docker/buildx util/buildflags/export.go and build/opt.go (CreateExports, ValidateLocalExportDelete): a lone value is a local
directory, a lone "-" a tar on stdout, keys are lower-cased, values may be quoted as in CSV.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kubectl_build.cli.options.exporter_attrs import check_exporter_attrs
from kubectl_build.cli.options.fields import parse_fields
from kubectl_build.errors import UsageError
from kubectl_build.model.platform import Platform
from kubectl_build.model.reference import Reference
from kubectl_build.model.request import Output, OutputType

LOCAL_DELETE = "buildx.local.delete"
"""The entitlement that lets a local output with mode=delete empty a directory outside the working directory."""


def refuse_load(what: str) -> UsageError:
    """The error for a result that is to go into a local docker."""
    return UsageError(
        f"{what} is not possible: there is no local image store in a cluster",
        hint="use --push, or -o type=docker,dest=FILE and docker load -i FILE",
    )


def parse_output(text: str) -> Output:
    """Parse one --output. Raises UsageError."""
    fields = parse_fields("--output", text)
    if len(fields) == 1 and fields[0] == text and not text.startswith("type="):
        return Output(type=OutputType.TAR, dest="-") if text == "-" else Output(type=OutputType.LOCAL, dest=text)
    attrs: dict[str, str] = {}
    for item in fields:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f'--output "{text}": invalid value "{item}", it is not of the form key=value')
        attrs[key.strip().lower()] = value
    kind = attrs.pop("type", "")
    dest = attrs.pop("dest", None)
    if not kind:
        raise UsageError(f'type is required for output: "{text}" has none', hint="write --output type=local,dest=DIR or type=registry")
    if kind == "registry":
        kind, attrs = "image", {"unpack": "false", **attrs, "push": "true"}
    if kind not in tuple(OutputType):
        known = ", ".join(["registry", *OutputType])
        raise UsageError(f'--output "{text}": type "{kind}" is not known', hint=f"types are {known}")
    output = Output(type=OutputType(kind), attrs=attrs, dest=dest)
    check_exporter_attrs(text, output)
    return _with_dest(text, output)


def _with_dest(text: str, output: Output) -> Output:
    kind, dest = output.type, output.dest
    if kind in (OutputType.IMAGE, OutputType.CACHEONLY):
        if dest is not None:
            raise UsageError(f'--output "{text}": dest is for files, an image has a name', hint="use type=oci,dest=FILE for a file")
    elif kind is OutputType.LOCAL or output.is_layout:
        if not dest:
            raise UsageError(f'--output "{text}": dest is required for {kind} exporter, it writes a directory', hint="add dest=DIRECTORY")
        if dest == "-":
            raise UsageError(f'--output "{text}": dest cannot be stdout for {kind} exporter', hint="add dest=DIRECTORY")
    elif kind is OutputType.DOCKER and not dest:
        raise refuse_load(f'--output "{text}" without dest')
    else:
        return replace(output, dest=dest or "-")
    return output


def with_push(outputs: Iterable[Output]) -> tuple[Output, ...]:
    """Apply --push: image outputs are pushed; where there is none, one is added (as buildx does)."""
    pushed = {"unpack": "false"}
    result = [replace(o, attrs={**pushed, **o.attrs, "push": "true"}) if o.type is OutputType.IMAGE else o for o in outputs]
    if not any(o.type is OutputType.IMAGE for o in result):
        result.append(Output(type=OutputType.IMAGE, attrs={**pushed, "push": "true"}))
    return tuple(result)


def check_outputs(outputs: Iterable[Output], tags: tuple[Reference, ...], platforms: tuple[Platform, ...] = ()) -> None:
    """Raise UsageError for outputs that contradict each other or the request, or that lack a name. Looks at no file."""
    if sum(output.dest == "-" for output in outputs) > 1:
        raise UsageError("multiple outputs configured to write to stdout", hint="give all but one of them dest=FILE")
    _check_places(outputs)
    for output in outputs:
        if output.pushes and not tags and not output.attrs.get("name"):
            raise UsageError(
                "tag is needed when pushing to registry: no --tag is given and no output has name=", hint="add -t REGISTRY/NAME:TAG"
            )
        if output.pushes:
            _check_names(output, tags)
        if output.type is OutputType.DOCKER and len(platforms) > 1:
            raise UsageError(
                "docker exporter does not support exporting manifest lists: it holds one platform, and several are asked for",
                hint="use type=oci",
            )


def _check_places(outputs: Iterable[Output]) -> None:
    """Two outputs in one place would overwrite each other, or mix their trees."""
    seen: set[str] = set()
    for output in outputs:
        if output.dest is None or output.dest == "-":
            continue
        place = os.path.abspath(output.dest)
        if place in seen:
            raise UsageError(f'two outputs have the destination "{output.dest}"', hint="give each a dest of its own")
        seen.add(place)


def _check_names(output: Output, tags: tuple[Reference, ...]) -> None:
    for name in output.names:
        if name.digest:
            raise UsageError(f'output name "{name}" has a digest: a build cannot choose its digest', hint="leave out the part from @")
    tagged = next((name for name in tags or output.names if name.tag != "latest"), None)
    if output.by_digest and tagged:
        raise UsageError(f'push-by-digest writes no tag, and "{tagged}" has one', hint=f"name the repository only: {tagged.repository}")


def check_destinations(outputs: Iterable[Output], *, allow_delete: bool, stdout_is_terminal: bool) -> None:
    """Raise UsageError for a `dest` that cannot be written, or that mode=delete may not empty. Looks at files, writes none: what only
    writing shows, as a full disk, comes when the result does."""
    for output in outputs:
        dest = output.dest
        if dest == "-" and stdout_is_terminal:
            raise UsageError(
                f"dest file is required for {output.type} exporter: refusing to write to console", hint=f"-o type={output.type},dest=FILE"
            )
        if dest is not None and dest != "-":
            _check_path(output, dest)
        if output.type is OutputType.LOCAL and dest is not None:
            _check_mode(output, dest, allow_delete=allow_delete)


def _check_path(output: Output, dest: str) -> None:
    directory = output.type is OutputType.LOCAL or output.is_layout
    try:
        is_directory = stat.S_ISDIR(os.stat(dest).st_mode)
    except FileNotFoundError:
        _check_writable(dest)
        return
    except (OSError, ValueError) as error:
        what = "directory" if directory else "file"
        raise UsageError(f'invalid destination {what} "{dest}": {getattr(error, "strerror", None) or error}') from error
    if directory and not is_directory:
        raise UsageError(f'destination directory "{dest}" is a file')
    if not directory and is_directory:
        raise UsageError(f'destination file "{dest}" is a directory', hint=f"name a file in it: dest={dest.rstrip('/')}/FILE")
    _check_writable(dest)


def _check_writable(dest: str) -> None:
    """A file is written beside its place, and directories are made where they are missing; a pipe or device is written to."""
    path = Path(os.path.realpath(dest))
    # What /dev/stdout leads to need not have a path of its own.
    place = path.parent if path.is_file() else path if not os.path.exists(dest) else Path(dest)
    while not place.exists() and place != place.parent:
        place = place.parent
    needed = os.W_OK | os.X_OK if place.is_dir() else os.W_OK
    if not os.access(place, needed):
        raise UsageError(f'destination "{dest}" cannot be written: "{place}" is read-only or belongs to another user')


def _check_mode(output: Output, dest: str, *, allow_delete: bool) -> None:
    mode = output.attrs.get("mode", "").strip().lower()
    if mode not in ("", "copy", "delete"):
        raise UsageError(f'invalid local exporter mode "{output.attrs["mode"]}"', hint="modes are copy and delete")
    if mode != "delete" or allow_delete:
        return
    inside = Path(os.path.realpath(dest))
    if Path(os.path.realpath(".")) not in inside.parents:
        raise UsageError(
            f'local output mode=delete for destination "{dest}" requires --allow={LOCAL_DELETE}: it is not inside the working directory'
        )
