"""Secrets and ssh agents through a real buildkitd: what a step sees of them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import grpc.aio
import pytest

from kubectl_build.model.inputs import Secret, SshAgent
from kubectl_build.session.secrets import MAX_SECRET, Secrets
from kubectl_build.session.ssh import SshForward
from kubectl_build.session.ssh_agents import open_agents
from tests.integration.daemon import Daemon
from tests.integration.services import ProbeBuild
from tests.unit.session.ssh_keys import make_key, running_agent, ssh_add

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def _sum(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _step(directory: Path, mounts: str, command: str) -> str:
    """A Dockerfile with one step, which no other test's cache can spare."""
    argv = ", ".join(f'"{word}"' for word in ("/probe", *command.split()))
    return f"FROM scratch\nLABEL test={directory}\nENV TEST={directory}\nCOPY probe /\nRUN {mounts} [{argv}]\n"


async def test_secrets_of_every_kind_are_what_the_step_reads(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "lines": b"first\nsecond\n\nlast without an end",
        "binary": bytes(range(256)) * 3,
        "empty": b"",
        "largest": os.urandom(MAX_SECRET),
        "variable": "in the environment ü\nand more\n".encode(),
        "unset": b"",
    }
    files = [Secret(id=name, file=tmp_path / name) for name in ("lines", "binary", "empty", "largest")]
    for secret in files:
        (tmp_path / secret.id).write_bytes(values[secret.id])
    monkeypatch.setenv("KB_VARIABLE", os.fsdecode(values["variable"]))
    variables = [Secret(id="variable", env="KB_VARIABLE"), Secret(id="unset", env="KB_NOT_SET")]
    mounts = " ".join(f"--mount=type=secret,id={name},required=true" for name in values)
    command = "file " + " ".join(f"/run/secrets/{name}" for name in values)
    build = ProbeBuild(tmp_path, _step(tmp_path, mounts, command), Secrets([*files, *variables]))

    await build.run(daemon)

    assert build.result() == {f"/run/secrets/{name}": ["400", _sum(value)] for name, value in values.items()}


async def test_secret_mounted_as_a_variable_or_elsewhere_is_there(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"word")
    secrets = Secrets([Secret(id="s", file=tmp_path / "secret")])
    as_variable = ProbeBuild(tmp_path, _step(tmp_path, "--mount=type=secret,id=s,env=TOKEN", "env TOKEN OTHER"), secrets)
    await as_variable.run(daemon)
    assert as_variable.result() == {"TOKEN": _sum(b"word")}

    mount = "--mount=type=secret,id=s,target=/etc/token,mode=0444"
    elsewhere = ProbeBuild(tmp_path, _step(tmp_path, mount, "file /etc/token /run/secrets/s"), secrets)
    await elsewhere.run(daemon)
    assert elsewhere.result() == {"/etc/token": ["444", _sum(b"word")]}


async def test_secret_that_is_missing_fails_only_where_it_is_required(daemon: Daemon, tmp_path: Path) -> None:
    optional = ProbeBuild(tmp_path, _step(tmp_path, "--mount=type=secret,id=gone", "file /run/secrets/gone"), Secrets([]))
    await optional.run(daemon)
    assert optional.result() == {}

    required = ProbeBuild(tmp_path, _step(tmp_path, "--mount=type=secret,id=gone,required=true", "file /x"), Secrets([]))
    with pytest.raises(grpc.aio.AioRpcError, match="secret gone: not found"):
        await required.run(daemon)


async def test_agent_of_the_user_lists_and_signs_for_a_step_and_stays_as_it_was(daemon: Daemon, tmp_path: Path) -> None:
    (one, first), (two, second) = (make_key(tmp_path, name) for name in ("one", "two"))
    with running_agent(tmp_path / "agent", one, two) as socket:
        before = ssh_add(socket, "-L")
        async with open_agents([SshAgent(id="default", paths=(socket,))]) as forward:
            build = ProbeBuild(tmp_path, _step(tmp_path, "--mount=type=ssh,required=true", "agent 3"), forward)
            await build.run(daemon)
        assert ssh_add(socket, "-L") == before

    expected = {"Keys": [first.decode(), second.decode()], "Signed": 2, "Refused": "BQUF"}  # three times SSH_AGENT_FAILURE
    assert build.result() == [expected] * 3


async def test_key_files_of_several_ids_are_agents_of_their_own(daemon: Daemon, tmp_path: Path) -> None:
    keys = {name: make_key(tmp_path, name) for name in ("default", "deploy")}
    async with open_agents([SshAgent(id=name, paths=(path,)) for name, (path, _) in keys.items()]) as forward:
        for name, mount in (("default", "--mount=type=ssh"), ("deploy", "--mount=type=ssh,id=deploy,target=/tmp/agent")):
            build = ProbeBuild(tmp_path, _step(tmp_path, mount, "agent 1"), forward)
            await build.run(daemon)
            (found,) = build.result()
            assert (found["Keys"], found["Signed"]) == ([keys[name][1].decode()], 1)


async def test_ssh_id_that_is_not_given_fails_the_step_that_requires_it(daemon: Daemon, tmp_path: Path) -> None:
    build = ProbeBuild(tmp_path, _step(tmp_path, "--mount=type=ssh,id=other,required=true", "agent 1"), SshForward({}))
    with pytest.raises(grpc.aio.AioRpcError, match="unset ssh forward key other"):
        await build.run(daemon)
