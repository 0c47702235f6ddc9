from __future__ import annotations

import asyncio
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.cluster.authentication import Authentication, ClientCertificate
from kubectl_build.cluster.config import resolve
from kubectl_build.cluster.exec_plugin import ExecPlugin, parse_exec
from kubectl_build.errors import ConfigError
from kubectl_build.model.kubeflags import KubeFlags

V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"


class Program:
    """A credential plugin that notes each run and prints what `answer` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "plugin"
        self.path.write_text(
            f'#!/bin/sh\necho "$KUBERNETES_EXEC_INFO" >> {folder}/runs\necho "$GREETING $*" >> {folder}/calls\ncat {folder}/answer\n'
            f"cat {folder}/complaint >&2 2>/dev/null\nexit $(cat {folder}/code)\n"
        )
        self.path.chmod(0o755)
        (folder / "code").write_text("0")
        self.answer({"token": "t1"})

    def answer(self, status: dict[str, Any] | None, *, api_version: str = V1, kind: str = "ExecCredential") -> None:
        (self.folder / "answer").write_text(json.dumps({"apiVersion": api_version, "kind": kind} | ({"status": status} if status else {})))

    @property
    def runs(self) -> list[dict[str, Any]]:
        path = self.folder / "runs"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def plugin(self, *, cluster: dict[str, Any] | None = None, certificate: ClientCertificate | None = None, **spec: Any) -> ExecPlugin:
        value = {"apiVersion": V1, "command": str(self.path), "interactiveMode": "Never"} | spec
        return ExecPlugin(
            parse_exec("jane", value, folder=self.folder, cluster=cluster or {}), environ=dict(os.environ), certificate=certificate
        )


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


async def test_plugin_gets_arguments_environment_and_exec_info(program: Program) -> None:
    await program.plugin(args=["get", "token"], env=[{"name": "GREETING", "value": "hello"}]).authenticate()

    assert (program.folder / "calls").read_text() == "hello get token\n"
    assert program.runs == [{"kind": "ExecCredential", "apiVersion": V1, "spec": {"interactive": False}}]


@pytest.mark.parametrize("api_version", [V1, V1BETA1])
async def test_plugin_of_both_api_versions_gives_its_token(program: Program, api_version: str) -> None:
    program.answer({"token": "t"}, api_version=api_version)

    assert await program.plugin(apiVersion=api_version).authenticate() == Authentication(authorization="Bearer t")


async def test_plugin_runs_once_until_its_credential_expires(program: Program) -> None:
    program.answer({"token": "t1", "expirationTimestamp": "2999-01-01T00:00:00Z"})
    lasting = program.plugin()
    await lasting.authenticate()
    await lasting.authenticate()
    assert len(program.runs) == 1

    program.answer({"token": "t1", "expirationTimestamp": "2001-01-01T00:00:00Z"})
    expired = program.plugin()
    await expired.authenticate()
    await expired.authenticate()
    assert len(program.runs) == 3


async def test_plugin_asked_by_many_at_once_runs_once_also_after_a_refusal(program: Program) -> None:
    plugin = program.plugin()
    await asyncio.gather(*(plugin.authenticate() for _ in range(5)))
    assert len(program.runs) == 1

    program.answer({"token": "t2"})
    results = await asyncio.gather(*(plugin.authenticate(refused=True) for _ in range(5)))
    assert {result.authorization for result in results} == {"Bearer t2"}
    assert len(program.runs) == 2


async def test_plugin_that_fails_is_run_once_for_all_who_waited_and_again_for_who_comes_later(program: Program) -> None:
    plugin = program.plugin()
    (program.folder / "code").write_text("1")
    failures = await asyncio.gather(*(plugin.authenticate() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(failure, ConfigError) and "exit code 1" in failure.message for failure in failures)
    assert len(program.runs) == 1

    (program.folder / "code").write_text("0")
    results = await asyncio.gather(*(plugin.authenticate() for _ in range(5)))
    assert {result.authorization for result in results} == {"Bearer t1"}
    assert len(program.runs) == 2


async def test_plugin_whose_first_caller_is_cancelled_is_run_by_the_next(program: Program) -> None:
    plugin = program.plugin()
    first = asyncio.create_task(plugin.authenticate())
    second = asyncio.create_task(plugin.authenticate())
    await asyncio.sleep(0)  # both have begun now
    first.cancel()

    assert (await second).authorization == "Bearer t1"


async def test_plugin_certificate_is_used_and_replaces_the_users_own(program: Program) -> None:
    own = ClientCertificate(b"own", b"own key")
    program.answer({"clientCertificateData": "CRT", "clientKeyData": "KEY"})
    assert await program.plugin(certificate=own).authenticate() == Authentication(certificate=ClientCertificate(b"CRT", b"KEY"))

    program.answer({"token": "t"})
    assert await program.plugin(certificate=own).authenticate() == Authentication(authorization="Bearer t", certificate=own)


async def test_plugin_that_asks_for_the_cluster_is_told_of_it(tmp_path: Path) -> None:
    program = Program(tmp_path)
    cluster = {
        "server": "https://h",
        "certificate-authority-data": "Q0E=",
        "tls-server-name": "inner",
        "extensions": [{"name": "other", "extension": 1}, {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}],
    }
    user = {"exec": {"apiVersion": V1, "command": "./plugin", "provideClusterInfo": True, "interactiveMode": "Never"}}
    document = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    (tmp_path / "config").write_text(json.dumps(document))
    connection = resolve(KubeFlags(kubeconfig=str(tmp_path / "config")), environ=dict(os.environ))
    await connection.authenticator.authenticate()

    assert program.runs[0]["spec"]["cluster"] == {
        "server": "https://h",
        "certificate-authority-data": "Q0E=",
        "tls-server-name": "inner",
        "config": {"audience": "x"},
    }


async def test_plugin_that_is_not_installed_gives_its_install_hint(program: Program) -> None:
    with pytest.raises(ConfigError) as caught:
        await program.plugin(command="no-such-plugin", installHint="brew install it\n").authenticate()
    assert caught.value.message == 'the credential plugin "no-such-plugin" of user "jane" is not installed'
    assert caught.value.hint == "brew install it"

    with pytest.raises(ConfigError) as caught:
        await program.plugin(command="no-such-plugin").authenticate()
    assert caught.value.hint == "install no-such-plugin or put it on PATH"


async def test_plugin_that_fails_shows_code_and_the_end_of_stderr(program: Program) -> None:
    (program.folder / "code").write_text("7")
    (program.folder / "complaint").write_text("x" * 2000 + "session expired, log in again\n")

    with pytest.raises(ConfigError) as caught:
        await program.plugin().authenticate()
    assert caught.value.message.startswith(f'the credential plugin "{program.path}" of user "jane" failed with exit code 7: xxx')
    assert caught.value.message.endswith("session expired, log in again")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("hush", "did not print JSON"),
        ("[]", f"did not print an ExecCredential of {V1}"),
        (json.dumps({"apiVersion": V1BETA1, "kind": "ExecCredential", "status": {"token": "hush"}}), f"an ExecCredential of {V1}"),
        (json.dumps({"apiVersion": V1, "kind": "ExecCredential"}), "without status"),
        (json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {}}), "neither a token nor a client certificate"),
        (json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"clientKeyData": "hush"}}), "without its certificate"),
        (
            json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "hush", "expirationTimestamp": "soon"}}),
            'the expirationTimestamp "soon", which is not a time',
        ),
    ],
)
async def test_plugin_answer_that_makes_no_sense_is_refused_without_quoting_it(program: Program, answer: str, message: str) -> None:
    (program.folder / "answer").write_text(answer)

    with pytest.raises(ConfigError) as caught:
        await program.plugin().authenticate()
    assert message in caught.value.message
    assert "hush" not in caught.value.message


async def test_plugin_that_must_ask_is_refused_without_a_terminal(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(ConfigError, match="must ask on a terminal"):
        await program.plugin(interactiveMode="Always").authenticate()
    assert await program.plugin(interactiveMode="IfAvailable").authenticate() == Authentication(authorization="Bearer t1")


async def test_plugin_that_cannot_be_executed_says_why(program: Program) -> None:
    broken = program.folder / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)

    with pytest.raises(ConfigError, match=r"cannot run the credential plugin .*: No such file or directory"):
        await program.plugin(command=str(broken)).authenticate()


async def test_plugin_that_does_not_end_is_stopped(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "login=200ms")
    program.path.write_text("#!/bin/sh\nexec sleep 60\n")

    with pytest.raises(ConfigError, match=r"did not end within"):
        await program.plugin().authenticate()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"apiVersion": V1, "command": "x", "interactiveMode": "Sometimes"}, 'the unknown interactiveMode "Sometimes"'),
        ({"apiVersion": V1, "command": "x", "args": "x"}, "args and env are lists"),
        ({"apiVersion": V1, "command": "x", "env": [{"value": "x"}]}, "args and env are lists"),
        ("x", "has no command"),
    ],
)
def test_parse_exec_of_another_shape_is_refused_in_words(value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_exec("jane", value, folder=Path(), cluster={})
    assert message in caught.value.message
