"""Registry logins in Kubernetes secrets, of the two types that `kubectl create secret docker-registry` and image pulls know."""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from kubectl_build.cluster.resources import SECRETS, Resource
from kubectl_build.credentials.entries import Entries, parse_entries, parse_object
from kubectl_build.credentials.hosts import find_entry
from kubectl_build.errors import ConfigError, Forbidden, NotFound
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.json import JsonObject

_KEYS = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}


class SecretReader(Protocol):
    """The part of the Kubernetes API that is needed here."""

    @property
    def namespace(self) -> str:
        """The namespace of the current context."""

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> JsonObject:
        """Return one object. Raises NotFound, Forbidden and other ApiErrors."""


class SecretMissing(ConfigError):
    """There is no such secret."""


class SecretForbidden(ConfigError):
    """This user may not read the secret."""


class SecretKeychain:
    """The logins of one secret."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        """Return the login for `host`, None when the secret has none."""
        return find_entry(self._entries, host, repository)


async def load_secret_keychain(client: SecretReader, namespace: str, name: str) -> SecretKeychain:
    """Read a registry secret.

    Raises ConfigError when it is missing (SecretMissing), may not be read (SecretForbidden), has another type or is malformed; other
    errors of the API server pass.
    """
    where = f'registry secret "{name}" in namespace "{namespace}"'
    create = (
        f"kubectl create secret docker-registry {name} -n {namespace} "
        "--docker-server=HOST --docker-username=USER --docker-password=PASSWORD"
    )
    try:
        secret = await client.get(SECRETS, name, namespace=namespace)
    except NotFound as exc:
        raise SecretMissing(f"{where} does not exist", hint=create) from exc
    except Forbidden as exc:
        hint = f"ask for the right to get secrets in {namespace}, or log in with docker login and leave --registry-secret out"
        raise SecretForbidden(f"{where} cannot be read: {exc.message}", hint=hint) from exc
    try:
        return SecretKeychain(_entries(secret, where))
    except ConfigError as exc:
        raise ConfigError(exc.message, hint=f"delete it and create it again: {create}") from exc


def _entries(secret: JsonObject, where: str) -> Entries:
    kind = secret.get("type")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ConfigError(f'{where} has the type "{kind}"; a registry secret has {" or ".join(_KEYS)}')
    key = _KEYS[kind]
    values = secret.get("data")
    encoded = values.get(key) if isinstance(values, dict) else None
    if not isinstance(encoded, str):
        raise ConfigError(f'{where} has no key "{key}"')
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f'{where} is malformed: "{key}" is not base64') from None
    document = parse_object(data, f'{where} is malformed: "{key}"')
    auths = document if key == ".dockercfg" else document.get("auths")
    return parse_entries(auths, f'{where} is malformed: "{key}"')
