"""Docker's own configuration: ~/.docker/config.json, DOCKER_CONFIG, DOCKER_AUTH_CONFIG, credential stores and helpers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from kubectl_build.credentials.entries import Entries, parse_entries, parse_object
from kubectl_build.credentials.helper import ask_helper
from kubectl_build.credentials.hosts import HUB, canonical_host, find_entry, parse_key
from kubectl_build.errors import ConfigError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

_HUB_SERVER = "https://index.docker.io/v1/"
_KEEP_SECONDS = 290.0
"""How long a helper's answer is used: some hand out tokens of five minutes (as BuildKit's authprovider has it)."""


class DockerConfigKeychain:
    """The logins of docker's configuration. It is read when the first login is asked for; a file that is not there has none.

    As in docker, DOCKER_AUTH_CONFIG goes before the file, and a helper or store before the file's own logins, which count when the helper
    has none. `resolve` raises ConfigError for a file or variable that is malformed and for a helper that fails.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._config: _Config | None = None
        self._answers: dict[tuple[str, str], tuple[float, Credentials | None]] = {}
        # One helper at a time: those of macOS hang when they run side by side (docker/cli issue 1862).
        self._asking = asyncio.Lock()

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        """Return the login for `host`, None when there is none."""
        found = await self.find(host, repository)
        return found[0] if found else None

    async def find(self, host: str, repository: str = "") -> tuple[Credentials, str] | None:
        """As `resolve`, with the place where the login stands, in words."""
        if self._config is None:
            self._config = _load(self._environ)
        config = self._config
        if (found := find_entry(config.variable, host, repository)) is not None:
            return found, "DOCKER_AUTH_CONFIG"
        if helper := config.helpers.get(canonical_host(host), config.store):
            server = _HUB_SERVER if canonical_host(host) == HUB else host
            if (found := await self._ask(helper, server, str(config.path))) is not None:
                return found, f'docker-credential-{helper}, named in docker config "{config.path}"'
        found = find_entry(config.file, host, repository)
        return (found, f'docker config "{config.path}"') if found else None

    async def _ask(self, helper: str, server: str, where: str) -> Credentials | None:
        async with self._asking:
            asked, answer = self._answers.get((helper, server), (float("-inf"), None))
            if time.monotonic() - asked < _KEEP_SECONDS:
                return answer
            answer = await ask_helper(helper, server, environ=self._environ, where=where)
            self._answers[helper, server] = (time.monotonic(), answer)
            return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    path: Path
    variable: Entries
    file: Entries
    helpers: Mapping[str, str]
    store: str


def read_docker_config(environ: Mapping[str, str]) -> tuple[Path, JsonObject]:
    """Return where docker's config.json is, and what it says: nothing when there is none. Raises ConfigError. Blocking, but short."""
    folder = environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path(environ.get("HOME") or Path.home()) / ".docker") / "config.json"
    where = f'docker config "{path}"'
    try:
        return path, parse_object(path.read_bytes(), where)
    except (FileNotFoundError, NotADirectoryError):
        return path, {}
    except OSError as exc:
        raise ConfigError(f"{where} cannot be read: {exc.strerror}") from exc


def _load(environ: Mapping[str, str]) -> _Config:
    path, document = read_docker_config(environ)
    where = f'docker config "{path}"'
    helpers, store = document.get("credHelpers") or {}, document.get("credsStore") or ""
    if not isinstance(helpers, dict) or not isinstance(store, str) or not all(isinstance(name, str) for name in helpers.values()):
        raise ConfigError(f'{where} has "credHelpers" or "credsStore" that do not name programs')
    variable = parse_object(environ.get("DOCKER_AUTH_CONFIG", ""), "DOCKER_AUTH_CONFIG")
    return _Config(
        path=path,
        variable=parse_entries(variable.get("auths"), "DOCKER_AUTH_CONFIG"),
        file=parse_entries(document.get("auths"), where),
        helpers={parse_key(text).host: name for text, name in helpers.items()},
        store=store,
    )
