"""`--buildkitd-flags`: further arguments of the daemon, without those that would take it away from its builder. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from kubectl_build.errors import UsageError

_ENTITLEMENT = "--allow-insecure-entitlement"
_REFUSED = {
    "--config": "the configuration is the builder's own: give the file with --buildkitd-config",
    "--root": "the state is in the volume that --cache names",
    "--addr": "the daemon is spoken to on its own socket in the pod",
    "--group": "the daemon is spoken to on its own socket in the pod",
    "--tlscert": "no port is open",
    "--tlskey": "no port is open",
    "--tlscacert": "no port is open",
    "--rootless": "say --security rootless",
    "--oci-worker-rootless": "say --security rootless",
}


def split_daemon_flags(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split `text` as a shell does into the entitlements that it allows and the other flags. Raises UsageError."""
    try:
        words = shlex.split(text)
    except ValueError as exc:
        raise UsageError(f'--buildkitd-flags "{text}" cannot be split into words: {str(exc).lower()}') from exc
    rights: list[str] = []
    flags: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name != _ENTITLEMENT:
            flags.append(word)
            continue
        given = value if equals else next(rest, "")
        if not given:
            raise UsageError(f"{_ENTITLEMENT} in --buildkitd-flags needs a value", hint=f"for example {_ENTITLEMENT}=network.host")
        rights += given.split(",")
    check_daemon_flags(flags)
    return tuple(rights), tuple(flags)


def check_daemon_flags(flags: Sequence[str]) -> None:
    """Raise UsageError for flags that a builder sets itself."""
    for flag in flags:
        name = flag.partition("=")[0]
        if name == _ENTITLEMENT:
            raise UsageError(f'buildkitd flag "{flag}" is not taken here', hint="entitlements are granted with --allow")
        if name in _REFUSED:
            raise UsageError(f'buildkitd flag "{flag}" cannot be given: {_REFUSED[name]}')
