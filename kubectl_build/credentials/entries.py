"""The entries of a docker config: JSON to logins.

Fields: docker/cli cli/config/types/authconfig.go; decoding: cli/config/configfile/file.go.
"""

from __future__ import annotations

import base64
import binascii
from json import JSONDecodeError

from kubectl_build.credentials.hosts import HostKey, parse_key
from kubectl_build.errors import ConfigError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.json import JsonObject, parse_json

Entries = dict[HostKey, Credentials]


def parse_object(data: str | bytes, where: str) -> JsonObject:
    """Read a JSON object; empty is {}. Raises ConfigError that begins with `where` and quotes nothing of `data`."""
    if not data.strip():
        return {}
    try:
        document = parse_json(data)
    except JSONDecodeError as exc:
        raise ConfigError(f"{where} is not valid JSON: {exc.msg} at line {exc.lineno} column {exc.colno}") from None
    except ValueError:
        raise ConfigError(f"{where} is not valid JSON") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{where} is not a JSON object")
    return document


def parse_entries(auths: object, where: str) -> Entries:
    """Read an `auths` object. Entries without a login (docker writes them beside a credential store) are left out.

    Raises ConfigError that begins with `where` and names the entry, never what is in it.
    """
    if auths is None:
        return {}
    if not isinstance(auths, dict):
        raise ConfigError(f'{where} has "auths" that is not an object')
    found: Entries = {}
    for text, raw in auths.items():
        credentials = _parse_entry(raw, f'{where} has an entry for "{text}"')
        if credentials is not None:
            found.setdefault(parse_key(text), credentials)
    return found


def _parse_entry(raw: object, where: str) -> Credentials | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} that is not an object")
    fields = {name: raw.get(name) or "" for name in ("auth", "username", "password", "identitytoken", "registrytoken")}
    for name, value in fields.items():
        if not isinstance(value, str):
            raise ConfigError(f'{where} whose "{name}" is not a string')
    if fields["identitytoken"]:
        return Credentials(username="", secret=fields["identitytoken"])
    if fields["registrytoken"]:
        return Credentials(username="", secret="", registry_token=fields["registrytoken"])
    user, password = _decode(fields["auth"], where) if fields["auth"] else (fields["username"], fields["password"])
    return Credentials(username=user, secret=password) if user else None


def _decode(auth: str, where: str) -> tuple[str, str]:
    """Take "user:password" out of its base64, whose padding the kubelet does not ask for."""
    packed = "".join(auth.split()).rstrip("=")
    try:
        text = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        raise ConfigError(f'{where} whose "auth" is not base64') from None
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise ConfigError(f'{where} whose "auth" is not the base64 of user:password')
    return user, password.strip("\0")
