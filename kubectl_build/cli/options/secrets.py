"""--secret and --ssh. Rules: docker/buildx util/buildflags/secrets.go and ssh.go, BuildKit session/secrets/secretsprovider/store.go and
session/sshforward/sshprovider/agentprovider.go. Files are looked at here and read when the daemon asks for them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from kubectl_build.cli.options.fields import parse_fields
from kubectl_build.errors import UsageError
from kubectl_build.model.inputs import Secret, SshAgent

_FORM = "write --secret id=ID,src=FILE or id=ID,env=NAME"
_MAX_SECRET = 500 * 1024
"""Bytes of a secret that BuildKit takes."""


def parse_secrets(texts: Iterable[str], environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """Parse --secret; of equal ids the last counts. Without file and variable the id names a variable that is set, else a file.

    Raises UsageError, also for a file that is missing, cannot be read or is too big.
    """
    found = [_parse_secret(text, environ) for text in texts if text]
    return tuple({secret.id: secret for secret in found}.values())


def _parse_secret(text: str, environ: Mapping[str, str]) -> Secret:
    said = {"id": "", "src": "", "env": "", "type": ""}
    for item in parse_fields("--secret", text):
        key, equals, value = item.partition("=")
        name = "src" if key.lower() == "source" else key.lower()
        if not equals:
            raise UsageError(f"--secret: invalid field '{item}' must be a key=value pair", hint=_FORM)
        if name not in said:
            raise UsageError(f"--secret: unexpected key '{name}'", hint="keys are id, type, src and env")
        if name == "type" and value not in ("file", "env"):
            raise UsageError(f'--secret: unsupported secret type "{value}"', hint="types are file and env")
        said[name] = value
    if said["type"] == "env" and not said["env"]:
        said["env"], said["src"] = said["src"], ""
    if not said["id"]:
        raise UsageError(f'--secret "{text}": secret missing ID', hint=_FORM)
    if not said["env"] and not said["src"]:
        said["env" if said["id"] in environ else "src"] = said["id"]
    if said["src"]:
        _check_secret(said["id"], said["src"])
    if said["env"]:
        return Secret(id=said["id"], env=said["env"])
    return Secret(id=said["id"], file=Path(said["src"]))


def _check_secret(name: str, path: str) -> None:
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise UsageError(f'file "{path}" of --secret id={name} does not exist') from error
    except (OSError, ValueError) as error:
        raise UsageError(f'file "{path}" of --secret id={name} cannot be read: {_why(error)}') from error
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f'file "{path}" of --secret id={name} is a directory')
    if not os.access(path, os.R_OK):
        raise UsageError(f'file "{path}" of --secret id={name} cannot be read', hint="check its permissions")
    if found.st_size > _MAX_SECRET:
        raise UsageError(f"secret {name} too big, max size 500 KiB", hint="a file of that size belongs in a --build-context")


def parse_ssh(texts: Iterable[str], environ: Mapping[str, str]) -> tuple[SshAgent, ...]:
    """Parse --ssh `ID[=SOCKET|KEY[,KEY]]`; an empty ID is "default".

    Raises UsageError, also when there is no agent, or files are missing or a mixture of sockets and keys.
    """
    result: dict[str, SshAgent] = {}
    for text in texts:
        if not text:
            continue
        name, _, rest = text.partition("=")
        name = name or "default"
        paths = rest.split(",") if rest else []
        if name in result:
            raise UsageError(
                f'--ssh: duplicate agent ID "{name}"', hint="give each key or agent an ID of its own, or several keys to one ID"
            )
        if paths:
            _check_ssh(text, paths)
        else:
            _check_agent(name, environ)
        result[name] = SshAgent(id=name, paths=tuple(Path(path) for path in paths))
    return tuple(result.values())


def _check_agent(name: str, environ: Mapping[str, str]) -> None:
    socket = environ.get("SSH_AUTH_SOCK")
    if not socket:
        raise UsageError(
            f"--ssh {name}: invalid empty ssh agent socket, SSH_AUTH_SOCK is not set",
            hint=f"start an agent with ssh-agent and ssh-add, or name a key: --ssh {name}=KEYFILE",
        )
    _check_ssh(name, [socket])


def _check_ssh(text: str, paths: list[str]) -> None:
    sockets = 0
    for path in paths:
        try:
            sockets += stat.S_ISSOCK(os.stat(path).st_mode)
        except (OSError, ValueError) as error:
            raise UsageError(f'--ssh {text}: "{path}" cannot be used: {_why(error)}') from error
    if sockets > 1:
        raise UsageError(f"--ssh {text}: only single socket allowed")
    if sockets and len(paths) > 1:
        raise UsageError(f"--ssh {text}: invalid combination of keys and sockets")


def _why(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
