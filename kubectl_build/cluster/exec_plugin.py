"""Credentials from a program that the kubeconfig names (client.authentication.k8s.io).

Run as client-go's plugin/pkg/client/auth/exec runs it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path

from kubectl_build.cluster.authentication import Authentication, ClientCertificate, bearer
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConfigError
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.values import dataclass

_API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_STDERR_SHOWN = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """The `exec` part of a kubeconfig's user. `cluster` is given to the program when it asks for it (provideClusterInfo)."""

    user: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_version: str
    interactive_mode: str = "IfAvailable"
    install_hint: str = ""
    cluster: JsonObject | None = field(default=None, repr=False)
    folder: Path


def parse_exec(user: str, value: object, *, folder: Path, cluster: JsonObject) -> ExecSpec:
    """Read the `exec` mapping of the user named `user`. Raises ConfigError."""
    if not isinstance(value, dict) or not isinstance(value.get("command"), str) or not value["command"]:
        raise ConfigError(f'the exec credential plugin of user "{user}" has no command')
    api_version = str(value.get("apiVersion") or "")
    if api_version not in _API_VERSIONS:
        hint = "update the plugin and its kubeconfig entry: " + " and ".join(_API_VERSIONS) + " are supported"
        raise ConfigError(f'the exec credential plugin of user "{user}" has the unsupported apiVersion "{api_version}"', hint=hint)
    mode = str(value.get("interactiveMode") or "IfAvailable")
    if mode not in ("Never", "IfAvailable", "Always"):
        raise ConfigError(f'the exec credential plugin of user "{user}" has the unknown interactiveMode "{mode}"')
    env = value.get("env") or []
    args = value.get("args") or []
    if not isinstance(args, list) or not isinstance(env, list) or not all(isinstance(item, dict) and "name" in item for item in env):
        raise ConfigError(f'the exec credential plugin of user "{user}" is malformed: args and env are lists, env of name and value')
    return ExecSpec(
        user=user,
        command=value["command"],
        args=tuple(str(arg) for arg in args),
        env={str(item["name"]): str(item.get("value", "")) for item in env},
        api_version=api_version,
        interactive_mode=mode,
        install_hint=str(value.get("installHint") or "").strip(),
        cluster=cluster if value.get("provideClusterInfo") else None,
        folder=folder,
    )


class ExecPlugin:
    """Runs the program when its last answer has expired or was refused; one run at a time."""

    def __init__(self, spec: ExecSpec, *, environ: Mapping[str, str], certificate: ClientCertificate | None = None) -> None:
        self._spec = spec
        self._environ = environ
        self._certificate = certificate
        self._lock = asyncio.Lock()
        self._current: Authentication | None = None
        self._expires: datetime | None = None
        self._runs = 0
        self._failure: ConfigError | None = None

    async def authenticate(self, *, refused: bool = False) -> Authentication:
        """Return the program's last answer, or run it. After a refusal that several requests met, it is run once.

        Those who waited while it ran and failed share its failure: a person who must log in is not asked by each of them.
        """
        met, runs = self._current, self._runs
        async with self._lock:
            if self._failure is not None and self._runs > runs:
                raise self._failure
            if self._current is None or (refused and self._current is met) or self._expired():
                self._failure = None
                try:
                    self._current = await self._run()
                except ConfigError as failure:
                    self._failure = failure
                    raise
                finally:
                    self._runs += 1
            return self._current

    def _expired(self) -> bool:
        return self._expires is not None and datetime.now(UTC) >= self._expires

    async def _run(self) -> Authentication:
        interactive = self._interactive()
        spec = self._spec
        request: JsonObject = {"interactive": interactive}
        if spec.cluster is not None:
            request["cluster"] = spec.cluster
        info = {"kind": "ExecCredential", "apiVersion": spec.api_version, "spec": request}
        try:
            process = await asyncio.create_subprocess_exec(
                self._executable(),
                *spec.args,
                stdin=None if interactive else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if interactive else asyncio.subprocess.PIPE,
                env={**self._environ, **spec.env, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            )
        except OSError as exc:
            raise ConfigError(f"cannot run {self._name}: {exc.strerror or exc}", hint=spec.install_hint or None) from exc
        try:
            async with asyncio.timeout(deadlines().login):
                stdout, stderr = await process.communicate()
        except TimeoutError as exc:
            raise ConfigError(f"{self._name} did not end within {deadlines().login:g} s") from exc
        finally:
            if process.returncode is None:
                process.kill()
                with suppress(TimeoutError):  # a child of its own may hold the pipes
                    async with asyncio.timeout(1):
                        await process.wait()
        if process.returncode:
            said = (stderr or b"").decode(errors="replace").strip()[-_STDERR_SHOWN:]
            raise ConfigError(f"{self._name} failed with exit code {process.returncode}" + (f": {said}" if said else ""))
        return self._parse(stdout)

    def _interactive(self) -> bool:
        terminal = sys.stdin is not None and sys.stdin.isatty()
        if self._spec.interactive_mode == "Always" and not terminal:
            raise ConfigError(f"{self._name} must ask on a terminal, and stdin is none", hint="log in first, then run the command again")
        return terminal and self._spec.interactive_mode != "Never"

    def _executable(self) -> str:
        command = self._spec.command
        if os.path.dirname(command):
            command = str(self._spec.folder / command)
        found = shutil.which(command, path=self._spec.env.get("PATH", self._environ.get("PATH", os.defpath)))
        if found is None:
            hint = self._spec.install_hint or f"install {self._spec.command} or put it on PATH"
            raise ConfigError(f"{self._name} is not installed", hint=hint)
        return found

    @property
    def _name(self) -> str:
        return f'the credential plugin "{self._spec.command}" of user "{self._spec.user}"'

    def _parse(self, stdout: bytes) -> Authentication:
        # What the program printed is a credential: no message may quote it.
        try:
            answer = parse_json(stdout)
        except ValueError as exc:
            raise ConfigError(f"{self._name} did not print JSON") from exc
        if not isinstance(answer, dict) or answer.get("apiVersion") != self._spec.api_version or answer.get("kind") != "ExecCredential":
            raise ConfigError(f"{self._name} did not print an ExecCredential of {self._spec.api_version}")
        status = answer.get("status")
        if not isinstance(status, dict):
            raise ConfigError(f"{self._name} printed an ExecCredential without status")
        token, chain, key = (status.get(name) or "" for name in ("token", "clientCertificateData", "clientKeyData"))
        if bool(chain) != bool(key):
            raise ConfigError(f"{self._name} printed a client certificate without its key, or a key without its certificate")
        if not token and not chain:
            raise ConfigError(f"{self._name} printed neither a token nor a client certificate")
        self._expires = self._expiration(status.get("expirationTimestamp"))
        certificate = ClientCertificate(str(chain).encode(), str(key).encode()) if chain else self._certificate
        return Authentication(authorization=bearer(str(token)) if token else "", certificate=certificate)

    def _expiration(self, stamp: object) -> datetime | None:
        if not stamp:
            return None
        try:
            moment = datetime.fromisoformat(str(stamp))
        except ValueError as exc:
            raise ConfigError(f'{self._name} printed the expirationTimestamp "{stamp}", which is not a time') from exc
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
