"""--build-arg, --build-arg-file, --label, --tag, --platform and what the environment adds to build arguments.

Rules: docker/buildx commands/build.go (listToMap, toOptions) and build/opt.go (proxyArgKeyExists, BUILDKIT_SYNTAX).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kubectl_build.errors import UsageError
from kubectl_build.model.platform import Platform, normalize, parse_platforms
from kubectl_build.model.reference import Reference, parse_reference

_EPOCH = "SOURCE_DATE_EPOCH"


def parse_build_args(texts: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Parse --build-arg: K=V, or K for the value of the environment, left out when that has none. Raises UsageError."""
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key:
            raise UsageError(f'invalid key-value pair "{text}" of --build-arg: empty key', hint="write --build-arg NAME=VALUE")
        if equals:
            result[key] = value
        elif key in environ:
            result[key] = environ[key]
    if "BUILDKIT_SYNTAX" in result and not result["BUILDKIT_SYNTAX"].strip():
        raise UsageError("empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg BUILDKIT_SYNTAX without '=' for optional behavior")
    return result


def read_build_args(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Read --build-arg-file: a --build-arg on each line; empty lines and lines that begin with "#" are skipped. Raises UsageError."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise UsageError(f'build-arg file "{path}" does not exist') from error
    except UnicodeDecodeError as error:
        raise UsageError(f'build-arg file "{path}" is not UTF-8 text') from error
    except (OSError, ValueError) as error:
        raise UsageError(f'build-arg file "{path}" cannot be read: {getattr(error, "strerror", None) or error}') from error
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("="):
            raise UsageError(f'build-arg file "{path}", line {number}: empty key', hint="write NAME=VALUE")
    return parse_build_args([line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")], environ)


def add_environment(arguments: dict[str, str], environ: Mapping[str, str], proxies: Mapping[str, str]) -> dict[str, str]:
    """Add what buildx adds to the user's own arguments: SOURCE_DATE_EPOCH of the environment, and the proxies of docker's config.

    A proxy is left out when an argument has its name in whatever case.
    """
    given = {name.lower() for name in arguments}
    added = {name: value for name, value in proxies.items() if name.lower() not in given}
    if _EPOCH not in arguments and environ.get(_EPOCH):
        added[_EPOCH] = environ[_EPOCH]
    return {**arguments, **added}


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Parse --label: K=V, or K for an empty value. Raises UsageError."""
    result: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise UsageError(f'invalid key-value pair "{text}" of --label: empty key', hint="write --label NAME=VALUE")
        result[key] = value
    return result


def parse_tags(texts: Iterable[str]) -> tuple[Reference, ...]:
    """Parse --tag values, dropping repeats. Raises UsageError; a digest in a tag is refused, since it names what exists already."""
    result: list[Reference] = []
    for text in texts:
        try:
            reference = parse_reference(text)
        except UsageError as error:
            raise UsageError(f'invalid tag "{text}": {error.message}', hint=error.hint) from error
        if reference.digest:
            raise UsageError(
                f'invalid tag "{text}": it has a digest, and a build cannot choose its digest', hint="leave out the part from @"
            )
        if reference not in result:
            result.append(reference)
    return tuple(result)


def platforms_of(texts: list[str], environ: Mapping[str, str], machine: str) -> tuple[Platform, ...]:
    """Parse --platform, else DOCKER_DEFAULT_PLATFORM; empty when neither says any. `machine` is what "local" stands for, as uname says it.

    Raises UsageError.
    """
    if not texts and environ.get("DOCKER_DEFAULT_PLATFORM"):
        texts = [environ["DOCKER_DEFAULT_PLATFORM"]]
    return parse_platforms(texts, local=normalize("linux", machine))
