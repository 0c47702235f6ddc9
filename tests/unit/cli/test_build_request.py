"""From an argv to a BuildRequest: every flag arrives."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from kubectl_build.cli.build import app
from kubectl_build.model.inputs import Dockerfile, LocalContext, Secret, SshAgent
from kubectl_build.model.request import AuthVia, CacheEntry, Call, CompressContext, Emulation, Output, OutputType
from tests.unit.cli.conftest import Started

Start = Callable[..., Started]

_OF_BUILDX = """
--add-host --allow --annotation --attest --build-arg --build-context --builder --cache-from --cache-to --call --cgroup-parent --check
--debug
--file --iidfile --label --load --metadata-file --network --no-cache --no-cache-filter --output --platform --policy --progress --provenance
--pull --push --quiet --resource --sbom --secret --shm-size --ssh --tag --target --ulimit -D -f -o -q -t
--print --memory -m --memory-swap --cpu-shares -c --cpu-period --cpu-quota --cpuset-cpus --cpuset-mems
--compress --isolation --security-opt --squash --rm --force-rm
"""
"""The options of `docker buildx build` v0.35.0, the hidden ones last."""


def test_flags_are_all_those_of_buildx() -> None:
    command: Any = typer.main.get_command(app)
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}

    assert set(_OF_BUILDX.split()) - known == set()


def test_request_without_flags_is_empty(start: Start, context: Path) -> None:
    started = start(".")

    request = started.request
    assert request.context == LocalContext(Path())
    assert request.dockerfile == Dockerfile(directory=context, shown="Dockerfile")
    assert (request.builder, request.auth_via, request.emulation) == ("buildkit", AuthVia.CLUSTER, Emulation.AUTO)
    assert not any([request.tags, request.platforms, request.outputs, request.attests, request.build_args, request.vcs, request.call])
    assert request.retries == 2
    assert started.options == {
        "mode": "auto",
        "verbosity": 0,
        "quiet": False,
        "iidfile": None,
        "metadata_file": None,
        "report": None,
        "unnamed": True,
        "timeout": None,
        "shared_key": None,
    }


def test_limits_of_time_and_tries_reach_the_build(start: Start) -> None:
    started = start(".", "--timeout", "1h30m", "--retries", "0")

    assert started.options["timeout"] == 5400
    assert started.request.retries == 0


@pytest.mark.parametrize(
    ("args", "name", "expected"),
    [
        (["--target", "a"], "target", "a"),
        (["--no-cache"], "no_cache", True),
        (["--no-cache=true"], "no_cache", True),
        (["--no-cache=false"], "no_cache", False),
        (["--no-cache-filter", "a,b", "--no-cache-filter=c"], "no_cache_filter", ("a", "b", "c")),
        (["--pull"], "pull", True),
        (["--label", "a=b"], "labels", {"a": "b"}),
        (["--build-arg", "a=b"], "build_args", {"a": "b"}),
        (["--provenance=mode=max"], "attests", {"provenance": "type=provenance,mode=max"}),
        (["--sbom", "true"], "attests", {"sbom": "type=sbom"}),
        (["--allow", "security.insecure", "--allow", "buildx.local.delete"], "entitlements", ("security.insecure",)),
        (["--add-host", "a:::1"], "add_hosts", ("a=::1",)),
        (["--network", "host"], "network", "host"),
        (["--network=default"], "network", ""),
        (["--cgroup-parent", "/x"], "cgroup_parent", "/x"),
        (["--shm-size", "128m"], "shm_size", 128 << 20),
        (["--ulimit", "nofile=1"], "ulimits", ("nofile=1:1",)),
        (["--resource", "memory=1k"], "resources", {"memory": "1024"}),
        (["-m", "1k", "-c", "7", "--memory-swap", "-1"], "resources", {"memory": "1024", "cpushares": "7", "memswap": "-1"}),
        (["--cpu-period=1", "--cpu-quota=2"], "resources", {"cpuperiod": "1", "cpuquota": "2"}),
        (["--cpuset-cpus=0,1", "--cpuset-mems", "0-3"], "resources", {"cpusetcpus": "0,1", "cpusetmems": "0-3"}),
        (["-m", "1k", "--resource", "memory=2k"], "resources", {"memory": "2048"}),
        (["--call", "outline"], "call", Call(method="outline")),
        (["--print", "targets"], "call", Call(method="targets")),
        (["--check"], "call", Call(method="check")),
        (["--check=false"], "call", None),
        (["-o", "out"], "outputs", (Output(type=OutputType.LOCAL, dest="out"),)),
        (["-o", "type=local,dest=in/x,mode=delete"], "outputs", (Output(type=OutputType.LOCAL, dest="in/x", attrs={"mode": "delete"}),)),
        (["--builder", "tcp://host:1234"], "builder", "tcp://host:1234"),
        (["--auth-via=client"], "auth_via", AuthVia.CLIENT),
        (["--compress-context=on"], "compress_context", CompressContext.ON),
        ([], "compress_context", CompressContext.AUTO),
        (["--context-key", "team/app"], "context_key", "team/app"),
        (["--emulation", "never"], "emulation", Emulation.NEVER),
        (["--registry-secret", "a", "--registry-secret", "b"], "registry_secrets", ("a", "b")),
        (["--cache-from", "a,b"], "cache_from", tuple(CacheEntry(type="registry", attrs={"ref": ref}) for ref in "ab")),
        (["--cache-to", "type=local,dest=x,mode=max"], "cache_to", (CacheEntry(type="local", attrs={"dest": "x", "mode": "max"}),)),
        (["--policy", "disabled=true"], "outputs", ()),
    ],
)  # fmt: skip
def test_flag_arrives_in_the_request(args: list[str], name: str, expected: object, start: Start) -> None:
    assert getattr(start(".", *args).request, name) == expected


def test_output_that_deletes_elsewhere_needs_the_right_to(start: Start) -> None:
    started = start(".", "-o", "type=local,dest=../elsewhere,mode=delete", "--allow", "buildx.local.delete")

    assert started.request.outputs[0].dest == "../elsewhere"
    assert started.request.entitlements == ()


@pytest.mark.parametrize(
    ("args", "said", "mode", "quiet"),
    [
        ([], None, "auto", False),
        ([], "plain", "plain", False),
        ([], "none", "quiet", False),
        ([], "quiet", "quiet", False),
        (["--progress=tty"], "plain", "tty", False),
        (["--progress=none"], None, "quiet", False),
        (["--progress=quiet"], None, "quiet", True),
        (["-q"], "plain", "quiet", True),
        (["-q", "--progress=none"], None, "quiet", True),
        (["--progress=rawjson"], None, "rawjson", False),
    ],
)
def test_progress_is_shown_as_buildx_would(
    args: list[str], said: str | None, mode: str, quiet: bool, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is not None:
        monkeypatch.setenv("BUILDKIT_PROGRESS", said)

    options = start(".", *args).options

    assert (options["mode"], options["quiet"]) == (mode, quiet)


@pytest.mark.parametrize(("args", "level"), [(["-v"], 1), (["-vv"], 2), (["-D"], 2), (["-v", "--debug"], 2), (["--verbose"], 1)])
def test_verbose_and_debug_are_one_scale(start: Start, args: list[str], level: int) -> None:
    assert start(".", *args).options["verbosity"] == level


@pytest.mark.parametrize(
    ("variables", "args", "expected"),
    [
        ({}, [], "buildkit"),
        ({"BUILDKIT_HOST": "unix:///run/x.sock"}, [], "unix:///run/x.sock"),
        ({"BUILDKIT_HOST": "unix:///run/x.sock", "BUILDX_BUILDER": "mine"}, [], "mine"),
        ({"BUILDKIT_HOST": "unix:///run/x.sock", "BUILDX_BUILDER": "mine"}, ["--builder", "typed"], "typed"),
    ],
)
def test_builder_is_named_by_flag_then_by_buildx_then_by_buildkit(
    variables: dict[str, str], args: list[str], expected: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    started = start(".", *args)

    assert started.request.builder == expected
    assert started.options["unnamed"] is (not variables and not args)


def test_platforms_come_from_the_environment_unless_they_are_given(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/riscv64")

    assert [str(p) for p in start(".").request.platforms] == ["linux/riscv64"]
    assert [str(p) for p in start(".", "--platform", "linux/arm64,linux/amd64").request.platforms] == ["linux/arm64", "linux/amd64"]


def test_build_args_of_a_file_give_way_to_typed_ones(start: Start, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (context / "args").write_text("# comment\n\nA=file\nB=with = and # in it\n  C\nD\nE=next\x85line\n", encoding="utf-8")
    monkeypatch.setenv("C", "variable")
    monkeypatch.delenv("D", raising=False)

    arguments = start(".", "--build-arg", "A=typed", "--build-arg-file", "args").request.build_args

    assert arguments == {"A": "typed", "B": "with = and # in it", "C": "variable", "E": "next\x85line"}


def test_proxies_of_docker_become_build_args(start: Start, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (context / "config.json").write_text(
        '{"proxies": {"default": {"httpProxy": "http://p", "noProxy": "x"}, "tcp://d:1": {"ftpProxy": "f"}}}'
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(context))

    assert start(".").request.build_args == {"HTTP_PROXY": "http://p", "NO_PROXY": "x"}
    monkeypatch.setenv("DOCKER_HOST", "tcp://d:1")
    assert start(".").request.build_args == {"FTP_PROXY": "f"}


def test_source_policy_is_handed_on_as_text(start: Start, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (context / "policy.json").write_text('{"rules": []}')
    monkeypatch.setenv("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "policy.json")

    assert start(".").request.source_policy == '{"rules": []}'


def test_secrets_are_files_and_variables(start: Start, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (context / "f").write_text("x")
    monkeypatch.setenv("V", "y")
    args = ["id=a,src=f", "id=b,env=V", "type=env,id=c,src=V", "type=file,id=d,source=f", "id=V", "id=f", "id=a,env=GONE"]

    secrets = start(".", *(word for text in args for word in ("--secret", text))).request.secrets

    assert secrets == (
        Secret(id="a", env="GONE"),
        Secret(id="b", env="V"),
        Secret(id="c", env="V"),
        Secret(id="d", file=Path("f")),
        Secret(id="V", env="V"),
        Secret(id="f", file=Path("f")),
    )


def test_ssh_is_an_agent_or_keys(start: Start, context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("k1", "k2"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", context / name], check=True, timeout=30)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(context / "agent"))
        found = start(".", "--ssh", "", "--ssh", "default", "--ssh", "b=agent", "--ssh", "c=k1,k2").request.ssh

    assert found == (
        SshAgent(id="default"),
        SshAgent(id="b", paths=(Path("agent"),)),
        SshAgent(id="c", paths=(Path("k1"), Path("k2"))),
    )


@pytest.mark.parametrize(("url", "expected"), [("git@host:x.git", True), ("ssh://git@host/x", True), ("https://host/x.git", False)])
def test_ssh_agent_is_added_for_a_git_context_over_ssh(
    url: str, expected: bool, start: Start, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start(url).request.ssh == ()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(context / "agent"))
        assert start(url).request.ssh == ((SshAgent(id="default"),) if expected else ())


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        (["--compress"], "--compress"),
        (["--rm"], "--rm"),
        (["--rm=false"], "--rm"),
        (["--force-rm=true"], "--force-rm"),
        (["--isolation", "default"], "--isolation"),
        (["--security-opt", "a", "--security-opt", "b"], "--security-opt"),
        (["--squash"], "--squash"),
    ],
)
def test_flag_that_means_nothing_is_accepted_with_one_warning(
    args: list[str], flag: str, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start(".", *args)

    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split(":")[0:2] for line in told.err.splitlines()] == [["warning", f" {flag} is ignored"]]


def test_files_of_the_result_are_handed_on_and_an_old_id_is_gone(start: Start, context: Path) -> None:
    (context / "iid").write_text("old")

    options = start(".", "--iidfile", "iid", "--metadata-file", "meta").options

    assert (options["iidfile"], options["metadata_file"]) == (Path("iid"), Path("meta"))
    assert not os.path.exists("iid")
