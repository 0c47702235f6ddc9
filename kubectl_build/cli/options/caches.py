"""--cache-from and --cache-to, with the credentials that the environment has for them.

Rules: docker/buildx util/buildflags/cache.go and build/opt.go (CreateCaches, addGithubToken, addAwsCredentials, isActive). What is read
here may be secret: no message quotes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kubectl_build.cli.options.fields import parse_fields
from kubectl_build.errors import ConfigError, UsageError
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import CacheEntry

_TYPES = ("registry", "local", "inline", "gha", "s3", "azblob")
_AWS_KEYS = ("access_key_id", "secret_access_key", "session_token")


def parse_caches(flag: str, texts: Iterable[str]) -> tuple[CacheEntry, ...]:
    """Parse the values of `flag`: lists of references, or `type=TYPE,key=value`. Raises UsageError."""
    result: list[CacheEntry] = []
    for text in texts:
        if not text:
            continue
        fields = parse_fields(flag, text)
        if "=" not in text:
            result += [CacheEntry(type="registry", attrs={"ref": ref}) for ref in fields if ref]
        else:
            result.append(_parse(flag, fields))
    if flag == "--cache-to":
        _check_references(result)
    return tuple(result)


def _check_references(entries: Iterable[CacheEntry]) -> None:
    """Refuse what can be no place for a cache. A --cache-from that names nothing is a cache that is not there, as in buildx."""
    for entry in entries:
        if entry.type == "registry":
            try:
                parse_reference(entry.attrs["ref"])
            except UsageError as error:
                raise UsageError(f"--cache-to: {error.message}", hint=error.hint) from error


def _parse(flag: str, fields: list[str]) -> CacheEntry:
    attrs: dict[str, str] = {}
    for item in fields:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f'{flag}: invalid value "{item}", it is not of the form key=value')
        attrs[key.lower()] = value
    kind = attrs.pop("type", "")
    if not kind:
        raise UsageError(f"{flag}: a type is required, as in type=TYPE,{next(iter(attrs))}=VALUE", hint=f"types are {', '.join(_TYPES)}")
    if kind not in _TYPES or (kind == "inline" and flag == "--cache-from"):
        raise UsageError(f'{flag}: type "{kind}" is not known', hint=f"types are {', '.join(_TYPES)}")
    _check(flag, kind, attrs)
    return CacheEntry(type=kind, attrs=attrs)


def _check(flag: str, kind: str, attrs: Mapping[str, str]) -> None:
    needed = {"registry": "ref", "local": "src" if flag == "--cache-from" else "dest"}.get(kind)
    if needed and not attrs.get(needed):
        raise UsageError(f"{flag}: {needed} is required for a cache of type {kind}", hint=f"add {needed}=...")
    if flag == "--cache-to" and attrs.get("mode", "min") not in ("min", "max"):
        raise UsageError(f'{flag}: mode "{attrs["mode"]}" is not known', hint="modes are min and max")


def with_credentials(entries: Iterable[CacheEntry], environ: Mapping[str, str], warn: Callable[[str], None]) -> tuple[CacheEntry, ...]:
    """Add to gha and s3 entries the credentials that they do not name. A gha cache without any, as outside of GitHub, is left out.

    Raises ConfigError for AWS files that cannot be read.
    """
    result: list[CacheEntry] = []
    for entry in entries:
        attrs = dict(entry.attrs)
        if entry.type == "gha":
            _add_github(attrs, environ)
            if not attrs.get("token") or not (attrs.get("url") or attrs.get("url_v2")):
                warn("the gha cache is left out: there is no ACTIONS_RUNTIME_TOKEN or no address of the cache service in the environment")
                continue
        elif entry.type == "s3" and not ("access_key_id" in attrs and "secret_access_key" in attrs):
            attrs = {**_aws_credentials(environ), **attrs}
        result.append(CacheEntry(type=entry.type, attrs=attrs))
    return tuple(result)


def _add_github(attrs: dict[str, str], environ: Mapping[str, str]) -> None:
    version = attrs.get("version") or ("2" if parse_bool(environ.get("ACTIONS_CACHE_SERVICE_V2", "")) else "")
    if "ACTIONS_RUNTIME_TOKEN" in environ:
        attrs.setdefault("token", environ["ACTIONS_RUNTIME_TOKEN"])
    if version == "2" and "ACTIONS_RESULTS_URL" in environ:
        attrs.setdefault("url_v2", environ["ACTIONS_RESULTS_URL"])
    url = environ.get("ACTIONS_CACHE_URL", environ.get("ACTIONS_RESULTS_URL"))
    if url is not None:
        attrs.setdefault("url", url)


def _aws_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The static keys of the environment, else of the profile in AWS's files, in the order of AWS's own SDK."""
    identity = environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_ACCESS_KEY", "")
    secret = environ.get("AWS_SECRET_ACCESS_KEY") or environ.get("AWS_SECRET_KEY", "")
    if identity and secret:
        found = dict(zip(_AWS_KEYS, (identity, secret, environ.get("AWS_SESSION_TOKEN", "")), strict=True))
        return {name: value for name, value in found.items() if value}
    profile = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    home = Path(environ.get("HOME") or Path.home()) / ".aws"
    shared = _aws_section(environ.get("AWS_SHARED_CREDENTIALS_FILE") or str(home / "credentials"), (profile, f"profile {profile}"))
    config = _aws_section(environ.get("AWS_CONFIG_FILE") or str(home / "config"), (f"profile {profile}", profile))
    for section in (shared, config):
        if section.get("aws_access_key_id") and section.get("aws_secret_access_key"):
            return {name: section[f"aws_{name}"] for name in _AWS_KEYS if section.get(f"aws_{name}")}
    return {}


def _aws_section(path: str, names: tuple[str, ...]) -> Mapping[str, str]:
    import configparser  # few builds keep their cache in S3

    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f'the AWS file "{path}" cannot be read: it is malformed or not readable') from error
    return next((dict(parser[name]) for name in names if parser.has_section(name)), {})
