"""What the environment and docker's own configuration say to a build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kubectl_build.errors import ConfigError, UsageError, system_words
from kubectl_build.model.json import parse_json

_PROXIES = {"HTTP_PROXY": "httpProxy", "HTTPS_PROXY": "httpsProxy", "NO_PROXY": "noProxy", "FTP_PROXY": "ftpProxy"}
_POLICY = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"
_DOCKER_HOST = "unix:///var/run/docker.sock"

DEFAULT_BUILDER = "buildkit"


def builder_name(flag: str, environ: Mapping[str, str]) -> str:
    """The builder: --builder, else BUILDX_BUILDER, else the address in BUILDKIT_HOST, else the default's name."""
    return named_builder(flag, environ) or DEFAULT_BUILDER


def named_builder(flag: str, environ: Mapping[str, str]) -> str:
    """The builder that somebody has named, as `builder_name`; "" when nobody has.

    Raises UsageError for a BUILDKIT_HOST that is no address: taken for a name it would have a builder made.
    """
    if name := flag or environ.get("BUILDX_BUILDER"):
        return name
    host = environ.get("BUILDKIT_HOST", "")
    if host and "://" not in host:
        raise UsageError(f'BUILDKIT_HOST "{host}" is not the address of a daemon', hint="the name of a builder goes in BUILDX_BUILDER")
    return host


def docker_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies of docker's config for its host, else the default ones, by the names of build arguments (docker/buildx, GetProxyConfig).

    Raises ConfigError for a config that is malformed.
    """
    from kubectl_build.credentials.docker_config import read_docker_config

    path, document = read_docker_config(environ)
    proxies = document.get("proxies") or {}
    if not isinstance(proxies, dict) or not all(isinstance(entry, dict) for entry in proxies.values()):
        raise ConfigError(f'docker config "{path}" has "proxies" that are not objects')
    host = environ.get("DOCKER_HOST") or _DOCKER_HOST
    entry = proxies[host] if host in proxies else proxies.get("default", {})
    found = {name: entry.get(key) or "" for name, key in _PROXIES.items()}
    if not all(isinstance(value, str) for value in found.values()):
        raise ConfigError(f'docker config "{path}" has a proxy that is not a string')
    return {name: value for name, value in found.items() if value}


def source_policy(environ: Mapping[str, str]) -> str:
    """The text of the file that EXPERIMENTAL_BUILDKIT_SOURCE_POLICY names, a JSON object; "" without one. Raises ConfigError."""
    path = environ.get(_POLICY)
    if not path:
        return ""
    try:
        text = Path(path).read_text()
        document = parse_json(text)
    except OSError as error:
        raise ConfigError(f'failed to read policy file "{path}" of {_POLICY}: {system_words(error)}') from error
    except ValueError as error:
        raise ConfigError(f'failed to parse source policy "{path}" of {_POLICY}: it is not JSON') from error
    if not isinstance(document, dict):
        raise ConfigError(f'failed to parse source policy "{path}" of {_POLICY}: it is not a JSON object')
    return text
