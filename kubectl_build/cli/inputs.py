"""The words that name contexts and Dockerfiles, turned into the values of model/inputs.

Rules: docker/buildx build/opt.go (loadInputs) and util/buildflags/context.go. What comes on stdin is copied to a private directory.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path

from kubectl_build.cli import layouts
from kubectl_build.cli.private import PrivateDirectory, private_directory
from kubectl_build.cli.remote import is_address, is_http, is_remote
from kubectl_build.errors import UsageError, system_words
from kubectl_build.model.inputs import Context, Dockerfile, LocalContext, NamedContext, RemoteContext
from kubectl_build.model.reference import parse_reference
from kubectl_build.values import dataclass

STDIN = "-"
_IMAGE = "docker-image://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a build reads. `own` says that `context` is a directory of the user's, not an empty one made here."""

    context: Context
    dockerfile: Dockerfile
    named_contexts: Mapping[str, NamedContext] = field(default_factory=dict)
    own: bool = False


@contextmanager
def open_inputs(
    path: str, file: str | None, named: Mapping[str, str], *, ignore_file: str | None = None, stdin: io.BufferedIOBase | None = None
) -> Iterator[Inputs]:
    """Find everything and read stdin if it is named. Files made on the way are gone when the block is left.

    `path` is the context as the user spelled it, `file` the value of --file, `named` comes from `parse_context_names`.
    Raises UsageError.
    """
    _check_words(path, file, ignore_file, stdin)
    contexts = {name: _named(name, value) for name, value in named.items()}
    with private_directory() as private:
        if path == STDIN:
            assert stdin is not None
            inputs = _from_stdin(file, stdin, private)
        elif os.path.isdir(path):
            inputs = _from_directory(path, file, stdin, private)
        elif is_remote(path):
            inputs = _from_address(path, file, stdin, private)
        else:
            raise _not_a_context(path)
        if ignore_file is not None:
            inputs = replace(inputs, dockerfile=_with_ignore_file(inputs, ignore_file, private))
        yield replace(inputs, named_contexts=contexts)


def _check_words(path: str, file: str | None, ignore_file: str | None, stdin: io.BufferedIOBase | None) -> None:
    if not path:
        raise UsageError('please specify build context (e.g. "." for the current directory)')
    if path == STDIN and file == STDIN:
        raise UsageError("invalid argument: can't use stdin for both build context and dockerfile", hint="give one of them as a path")
    if STDIN in (path, file) and stdin is None:
        raise UsageError('"-" is stdin, and stdin is closed')
    if ignore_file is not None and file is not None and is_http(file):
        raise UsageError("--ignore-file cannot be used with a Dockerfile that the builder fetches", hint="download the Dockerfile first")


def parse_context_names(texts: Iterable[str]) -> dict[str, str]:
    """Parse --build-context NAME=VALUE; a name is written as docker writes an image's, without ":latest". Raises UsageError."""
    result: dict[str, str] = {}
    for text in texts:
        if not text:
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"invalid context value: {text}, expected key=value", hint="write --build-context NAME=PATH")
        result[_familiar(name)] = value
    return result


def _familiar(name: str) -> str:
    try:
        found = parse_reference(name, default_tag="")
    except UsageError as error:
        raise UsageError(f"invalid context name {name}: {error.message}") from error
    short = str(found).removeprefix("docker.io/")
    if found.domain == "docker.io" and found.path.count("/") == 1:
        short = short.removeprefix("library/")
    return short.removesuffix(":latest")


def _named(name: str, value: str) -> NamedContext:
    if value.startswith("target:"):
        raise UsageError(f'--build-context {name}="{value}": targets exist in bake files only', hint="name a directory, an image or a URL")
    if value.startswith(_IMAGE):
        parse_reference(value.removeprefix(_IMAGE))
        return RemoteContext(value)
    if is_remote(value):
        return RemoteContext(value)
    if value.startswith(layouts.PREFIX):
        return layouts.open_layout(value)
    directory = Path(value)
    if not directory.exists():
        raise UsageError(
            f'failed to get build context {name}: path "{value}" not found',
            hint=f"kinds are a directory, {_IMAGE}, {layouts.PREFIX}, and git and http URLs" if is_address(value) else None,
        )
    if not directory.is_dir():
        raise UsageError(f'failed to get build context {name}: "{value}" is not a directory')
    _check_readable(directory)
    return LocalContext(directory)


def _from_directory(path: str, file: str | None, stdin: io.BufferedIOBase | None, private: PrivateDirectory) -> Inputs:
    context = Path(path)
    _check_readable(context)
    if file == STDIN:
        dockerfile = _from_stream(b"", stdin, private)
    elif file is not None and is_http(file):
        dockerfile = Dockerfile(url=file, shown=file)
    elif file and _is_pipe(file):
        with open(file, "rb") as pipe:
            dockerfile = _from_stream(b"", pipe, private, shown=file)
    else:
        dockerfile = _found(context / "Dockerfile" if not file else Path(file), named=bool(file))
    return Inputs(context=LocalContext(context), dockerfile=dockerfile, own=True)


def _from_address(path: str, file: str | None, stdin: io.BufferedIOBase | None, private: PrivateDirectory) -> Inputs:
    if file == STDIN:
        dockerfile = _from_stream(b"", stdin, private)
    elif file is not None and os.path.isabs(file):
        dockerfile = replace(_found(Path(file), named=True), separate=True)
    else:
        dockerfile = _inside(file)
    return Inputs(context=RemoteContext(path), dockerfile=dockerfile)


def _from_stdin(file: str | None, stdin: io.BufferedIOBase, private: PrivateDirectory) -> Inputs:
    from kubectl_build.cli import archive  # knows tar and more that most builds have no use for

    head = archive.read_head(stdin)
    if not head:
        raise UsageError("stdin is empty: neither a tar archive nor a Dockerfile came", hint="for example: tar c . | kubectl build -")
    if archive.is_archive(head):
        return Inputs(context=archive.spool_archive(head, stdin, private.path()), dockerfile=_inside(file))
    if file:
        raise UsageError(
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
            hint="stdin has no tar archive; leave out --file, or send an archive",
        )
    dockerfile = _from_stream(head, stdin, private)
    return Inputs(context=LocalContext(private.make("context")), dockerfile=dockerfile)


def _inside(file: str | None) -> Dockerfile:
    """A Dockerfile within a context that is not a directory of this machine."""
    if file is not None and is_http(file):
        return Dockerfile(url=file, shown=file)
    return Dockerfile(name=file or "Dockerfile", shown=file or "Dockerfile")


def _from_stream(head: bytes, stream: io.BufferedIOBase | None, private: PrivateDirectory, *, shown: str = "stdin") -> Dockerfile:
    from kubectl_build.cli import archive

    assert stream is not None
    head = head or archive.read_head(stream)
    if not head:
        raise UsageError(f"{shown} is empty: no Dockerfile came", hint="for example: kubectl build -f - . < Dockerfile")
    directory = private.make("dockerfile")
    archive.spool(head, stream, directory / "Dockerfile")
    return Dockerfile(directory=directory, separate=True, shown=shown)


def _is_pipe(file: str) -> bool:
    """Whether this can be read but once, such as a shell's <(command)."""
    try:
        return stat.S_ISFIFO(os.stat(file).st_mode)
    except (OSError, ValueError):
        return False


def _found(file: Path, *, named: bool) -> Dockerfile:
    """A Dockerfile of this machine; "dockerfile" stands in for one that is called "Dockerfile" and is not there."""
    lower = file.with_name("dockerfile")
    if file.name == "Dockerfile" and not file.exists() and lower.exists():
        file = lower
    if not file.exists():
        hint = "paths of -f are looked up from the working directory" if named else "name it with -f FILE"
        raise UsageError(f'Dockerfile "{file}" does not exist', hint=hint)
    if not file.is_file():
        raise UsageError(f'Dockerfile "{file}" is not a file')
    if not os.access(file, os.R_OK):
        raise UsageError(f'Dockerfile "{file}" cannot be read', hint="check its permissions")
    return Dockerfile(name=file.name, directory=file.absolute().parent, shown=str(file))


def _with_ignore_file(inputs: Inputs, ignore_file: str, private: PrivateDirectory) -> Dockerfile:
    """A copy of the Dockerfile beside the ignore file under the name that goes before the context's own .dockerignore."""
    if not isinstance(inputs.context, LocalContext) or inputs.dockerfile.directory is None:
        raise UsageError(
            "--ignore-file needs a context that is a directory of this machine",
            hint="leave out of the archive or repository what is to be ignored",
        )
    source = Path(ignore_file)
    if not source.is_file():
        raise UsageError(
            f'ignore file "{ignore_file}" does not exist' if not source.exists() else f'ignore file "{ignore_file}" is not a file'
        )
    name = inputs.dockerfile.name
    directory = private.make("ignore")
    try:
        shutil.copyfile(inputs.dockerfile.directory / name, directory / name)
        shutil.copyfile(source, directory / f"{name}.dockerignore")
    except OSError as error:
        raise UsageError(f'"{error.filename}" cannot be copied: {system_words(error)}') from error
    return replace(inputs.dockerfile, directory=directory, separate=True)


def _check_readable(context: Path) -> None:
    if not os.access(context, os.R_OK | os.X_OK):
        raise UsageError(f'build context "{context}" cannot be read', hint="check its permissions")


def _not_a_context(path: str) -> UsageError:
    if os.path.exists(path):
        return UsageError(
            f'unable to prepare context: path "{path}" is not a directory', hint="give its directory, and the Dockerfile with -f"
        )
    if is_address(path):
        return UsageError(
            f'unable to prepare context: path "{path}" not found, and it is no git or http(s) URL', hint="git URLs over http(s) end in .git"
        )
    return UsageError(
        f'unable to prepare context: path "{path}" not found', hint="name the directory to build from, for example: kubectl build ./"
    )
