"""docker-credential-* programs (github.com/docker/docker-credential-helpers, the protocol of `get`)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConfigError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.json import parse_json

_NO_LOGIN = frozenset({"credentials not found in native keychain", "no credentials server URL", "no credentials username"})
_TOKEN_USER = "<token>"
_LONGEST_QUOTE = 256


async def ask_helper(name: str, server: str, *, environ: Mapping[str, str], where: str) -> Credentials | None:
    """Ask docker-credential-`name` for the login to `server`, None when it has none.

    `where` says which configuration names the helper. Raises ConfigError when it is missing, fails or does not end in time; what it wrote
    on success is in no message.
    """
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None:
        raise ConfigError(
            f'the credential helper "{program}" that {where} names for {server} is not in PATH',
            hint=f"install {program}, or take it out of {where}",
        )
    try:
        process = await asyncio.create_subprocess_exec(
            path, "get", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=dict(environ)
        )
    except OSError as exc:
        raise ConfigError(f'the credential helper "{path}" cannot be started: {exc.strerror}') from exc
    try:
        async with asyncio.timeout(deadlines().helper):
            stdout, stderr = await process.communicate(server.encode())
    except TimeoutError:
        raise ConfigError(f'the credential helper "{program}" gave no login for {server} within {deadlines().helper:g} s') from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return _read(program, server, stdout)
    said = stdout.decode(errors="replace").strip()
    if said in _NO_LOGIN:
        return None
    words = " ".join((said or stderr.decode(errors="replace")).split())[:_LONGEST_QUOTE] or "it said nothing"
    raise ConfigError(f'the credential helper "{program}" failed for {server} with exit code {process.returncode}: {words}')


def _read(program: str, server: str, stdout: bytes) -> Credentials | None:
    try:
        answer = parse_json(stdout)
        user, secret = answer.get("Username") or "", answer.get("Secret") or ""
    except (ValueError, AttributeError):
        user = secret = None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise ConfigError(f'the credential helper "{program}" answered something that is not a login for {server}') from None
    if not secret:
        return None
    return Credentials(username="" if user == _TOKEN_USER else user, secret=secret)
