"""--call, --check and --policy. Rules: docker/buildx util/buildflags/callfunc.go and policy.go (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from kubectl_build.cli.options.fields import parse_fields
from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.request import Call

_POLICY_BOOLEANS = ("reset", "disabled", "strict")
_LOG_LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")


def parse_call(text: str, *, check: bool = False) -> Call | None:
    """Parse --call; None stands for a build. `check` says that --check is given too. Raises UsageError."""
    call = _parse(text) if text else None
    if check:
        if call is not None and call.method != "check":
            raise UsageError(f'--check and --call="{text}" cannot be used together')
        return call or Call(method="check")
    return call


def _parse(text: str) -> Call | None:
    method, as_json, ignore_status = "", False, False
    for item in parse_fields("--call", text):
        key, equals, value = item.partition("=")
        if not equals:
            if method:
                raise UsageError(f'invalid print value: --call "{text}" names more than one method')
            method = item
        elif key == "format":
            if value != "json":
                raise UsageError(f'--call "{text}": format "{value}" is not known', hint="the format is json, or left out for text")
            as_json = True
        elif key == "ignorestatus":
            said = parse_bool(value)
            if said is None:
                raise UsageError(f'invalid ignorestatus print value: "{value}" of --call is not true or false')
            ignore_status = said
        else:
            raise UsageError(f'invalid print field: "{item}" of --call', hint="fields are format=json and ignorestatus=true")
    if not method:
        raise UsageError(f'--call "{text}" names no method', hint="methods are build, check, outline and targets")
    if method == "build":
        return None
    return Call(method="check" if method == "lint" else method, as_json=as_json, ignore_status=ignore_status)


def parse_policy(texts: Iterable[str]) -> bool:
    """Whether --policy says that policies are off. A policy that is to be applied is refused: this client evaluates none.

    Raises UsageError.
    """
    off = False
    for text in texts:
        disabled, applies = False, False
        for item in parse_fields("--policy", text):
            name, _, value = item.partition("=")
            name = name.strip().lower()
            said = parse_bool(value)
            if not _policy_field_is_known(name, value):
                raise UsageError(f'--policy: invalid value "{item}"', hint="see: docker buildx build --help")
            disabled = disabled or (name == "disabled" and said is True)
            applies = applies or name == "filename" or (name == "strict" and said is True)
        if applies and not disabled:
            raise refuse_policy(f'--policy "{text}"')
        off = off or disabled
    return off


def _policy_field_is_known(name: str, value: str) -> bool:
    if name in _POLICY_BOOLEANS:
        return parse_bool(value) is not None
    return (name == "filename" and value != "") or (name == "log-level" and value in _LOG_LEVELS)


def refuse_policy(what: str) -> UsageError:
    """The error for a policy that nobody would apply."""
    return UsageError(f"{what} cannot be applied: policies are not evaluated here", hint="--policy disabled=true builds without them")
