"""--secret and --ssh. Rules: docker/buildx util/buildflags/secrets.go and ssh.go, BuildKit session/secrets/secretsprovider/store.go and
session/sshforward/sshprovider/agentprovider.go. What they name is looked at by the session's own checks, so that what is missing is told
before a cluster is asked, and read when the daemon asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kubectl_build.cli.options.fields import parse_fields
from kubectl_build.errors import UsageError
from kubectl_build.model.inputs import Secret, SshAgent

_FORM = "write --secret id=ID,src=FILE or id=ID,env=NAME"


def parse_secrets(texts: Iterable[str], environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """Parse --secret; of equal ids the last counts. Without file and variable the id names a variable that is set, else a file.

    Raises UsageError, also for a file that is missing, cannot be read or is too big.
    """
    found = [_parse_secret(text, environ) for text in texts if text]
    if not found:
        return ()
    from kubectl_build.session.secrets import check_secrets  # its messages take time to load

    secrets = tuple({secret.id: secret for secret in found}.values())
    check_secrets(secrets)
    return secrets


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
    if said["env"]:
        return Secret(id=said["id"], env=said["env"])
    return Secret(id=said["id"], file=Path(said["src"]))


def parse_ssh(texts: Iterable[str]) -> tuple[SshAgent, ...]:
    """Parse --ssh `ID[=SOCKET|KEY[,KEY]]`; an empty ID is "default".

    Raises UsageError, also when there is no agent, or files are missing or a mixture of sockets and keys; ConfigError where keys need an
    OpenSSH that is not here.
    """
    agents = tuple(_parse_agent(text) for text in texts if text)
    if agents:
        from kubectl_build.session.ssh_agents import check_agents  # its messages take time to load

        check_agents(agents)
    return agents


def _parse_agent(text: str) -> SshAgent:
    name, _, rest = text.partition("=")
    return SshAgent(id=name or "default", paths=tuple(Path(path) for path in rest.split(",")) if rest else ())
