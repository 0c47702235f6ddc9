"""What docker buildx and the ancestor refuse: one sentence each, exit 2 or 3, before anything is asked of a cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubectl_build.cli.build import app
from kubectl_build.cli.buildkit import app as buildkit_app
from kubectl_build.cli.main import run_app

DIGEST = "sha256:" + "0" * 64

USAGE = [
    # arguments and contexts
    (["--nope", "."], "no such option: --nope"),
    ([], "missing argument"),
    ([".", "extra"], "unexpected extra argument"),
    ([""], 'please specify build context (e.g. "." for the current directory)'),
    (["missing"], 'unable to prepare context: path "missing" not found'),
    (["Dockerfile"], 'unable to prepare context: path "Dockerfile" is not a directory'),
    (["ftp://host/x"], 'unable to prepare context: path "ftp://host/x" not found, and it is no git or http(s) URL'),
    (["-", "-f", "-"], "invalid argument: can't use stdin for both build context and dockerfile"),
    (["-"], "stdin is empty"),
    ([".", "-f", "-"], "stdin is empty: no Dockerfile came"),
    ([".", "-f", "nowhere"], 'Dockerfile "nowhere" does not exist'),
    ([".", "-f", "sub"], 'Dockerfile "sub" is not a file'),
    (["sub"], 'Dockerfile "sub/Dockerfile" does not exist'),
    (["https://host/x.git", "-f", "/nowhere/Dockerfile"], 'Dockerfile "/nowhere/Dockerfile" does not exist'),
    ([".", "--ignore-file", "nowhere"], 'ignore file "nowhere" does not exist'),
    ([".", "--ignore-file", "sub"], 'ignore file "sub" is not a file'),
    (["https://host/x.git", "--ignore-file", "Dockerfile"], "--ignore-file needs a context that is a directory"),
    ([".", "-f", "https://host/Dockerfile", "--ignore-file", "Dockerfile"], "--ignore-file cannot be used with a Dockerfile that"),
    ([".", "--build-context", "name"], "invalid context value: name, expected key=value"),
    ([".", "--build-context", "A=sub"], "invalid context name A"),
    ([".", "--build-context", "a=nowhere"], 'failed to get build context a: path "nowhere" not found'),
    ([".", "--build-context", "a=Dockerfile"], 'failed to get build context a: "Dockerfile" is not a directory'),
    ([".", "--build-context", "a=target:x"], "targets exist in bake files only"),
    ([".", "--build-context", "a=docker-image://UPPER"], 'image reference "UPPER" is not valid'),
    ([".", "--build-context", "a=oci-layout://sub"], '"sub" is not an OCI layout'),
    ([".", "--build-context", "a=oci-layout://sub@sha256:12"], '"sha256:12" is not a digest'),
    # the image
    ([".", "-t", "reg.example/UPPER"], 'invalid tag "reg.example/UPPER"'),
    ([".", "-t", ""], 'invalid tag ""'),
    ([".", "-t", f"reg.example/a@{DIGEST}"], "a build cannot choose its digest"),
    ([".", "--platform", "linux/amd64,a/b/c/d"], 'platform "a/b/c/d" is not valid'),
    ([".", "--label", "=x"], 'invalid key-value pair "=x" of --label: empty key'),
    ([".", "--annotation", "key"], 'invalid annotation "key", expected key=value'),
    ([".", "--annotation", "config:a=b"], 'unknown annotation type "config"'),
    ([".", "--annotation", "Index:a=b"], 'invalid annotation type "Index", expected type and optional platform'),
    ([".", "--annotation", "manifest[a/b/c/d]:a=b"], 'platform "a/b/c/d" is not valid'),
    ([".", "--attest", "mode=max"], "attestation type not specified"),
    ([".", "--attest", "type=vsa"], 'attestation type "vsa" is not known'),
    ([".", "--attest", "type=sbom,disabled=perhaps"], 'invalid value "disabled=perhaps"'),
    ([".", "--provenance", "max"], 'invalid value "max"'),
    # build arguments
    ([".", "--build-arg", "=x"], 'invalid key-value pair "=x" of --build-arg: empty key'),
    ([".", "--build-arg", "BUILDKIT_SYNTAX="], "empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg BUILDKIT_SYNTAX without '='"),
    ([".", "--build-arg-file", "nowhere"], 'build-arg file "nowhere" does not exist'),
    ([".", "--build-arg-file", "bad.env"], 'build-arg file "bad.env", line 2: empty key'),
    # outputs
    ([".", "--push"], "tag is needed when pushing to registry"),
    ([".", "--push=true"], "tag is needed when pushing to registry"),
    ([".", "--push=perhaps"], "does not take a value"),
    ([".", "-o", "type=registry"], "tag is needed when pushing to registry"),
    ([".", "-o", "type=zip"], 'type "zip" is not known'),
    ([".", "-o", "type=oci,dest=x", "-o", "type=tar,dest=./x"], 'two outputs have the destination "./x"'),
    ([".", "-o", "type=image,compression=bogus"], 'compression "bogus" is not known'),
    ([".", "-o", "type=oci,dest=x,compression-level=abc"], 'compression-level is a number, not "abc"'),
    ([".", "-o", "type=image,name=foo,push=maybe"], 'push is true or false, not "maybe"'),
    ([".", "--provenance", "mode=bogus"], 'mode "bogus" of provenance is not known'),
    ([".", "-o", "dest=x,mode=copy"], "type is required for output"),
    ([".", "-o", "type=local"], "dest is required for local exporter"),
    ([".", "-o", "type=local,dest=-"], "dest cannot be stdout for local exporter"),
    ([".", "-o", "type=local,dest=Dockerfile"], 'destination directory "Dockerfile" is a file'),
    ([".", "-o", "type=oci,tar=false"], "dest is required for oci exporter"),
    ([".", "-o", "type=oci,dest=sub"], 'destination file "sub" is a directory'),
    ([".", "-o", "type=oci,dest=Dockerfile/x"], 'invalid destination file "Dockerfile/x"'),
    ([".", "-o", "type=oci,x"], 'invalid value "x"'),
    ([".", "-o", 'type=oci,dest="x"'], "is not valid CSV"),
    ([".", "-o", "-", "-o", "type=oci"], "multiple outputs configured to write to stdout"),
    ([".", "-o", "type=local,dest=x,mode=wipe"], 'invalid local exporter mode "wipe"'),
    ([".", "-o", "type=local,dest=.,mode=delete"], "requires --allow=buildx.local.delete"),
    ([".", "-o", "type=local,dest=../x,mode=delete"], "requires --allow=buildx.local.delete"),
    (
        [".", "-o", "type=docker,dest=x", "--platform", "linux/amd64,linux/arm64"],
        "docker exporter does not support exporting manifest lists",
    ),
    ([".", "-o", "type=docker"], "without dest is not possible"),
    ([".", "-o", f"type=registry,name=r.example/a@{DIGEST}"], "has a digest"),
    ([".", "-t", "r.example/a:1", "-o", "type=registry,push-by-digest=true"], "push-by-digest writes no tag"),
    ([".", "--load"], "--load is not possible"),
    ([".", "--iidfile", "no/dir/iid"], '--iidfile "no/dir/iid" cannot be written'),
    ([".", "--iidfile", "iid", "-o", "out"], "local and tar exporters are incompatible with image ID file"),
    ([".", "--metadata-file", "sub"], '--metadata-file "sub" cannot be written'),
    # caches
    ([".", "--cache-to", "ref=a/b"], "--cache-to: a type is required, as in type=TYPE,ref=VALUE"),
    ([".", "--cache-to", "type=registry,max"], 'invalid value "max"'),
    ([".", "--cache-to", "type=registry"], "ref is required"),
    ([".", "--cache-to", "type=local,src=x"], "dest is required"),
    ([".", "--cache-from", "type=local"], "src is required"),
    ([".", "--cache-from", "type=inline"], 'type "inline" is not known'),
    ([".", "--cache-to", "type=redis"], 'type "redis" is not known'),
    ([".", "--cache-to", "type=registry,ref=a,mode=all"], 'mode "all" is not known'),
    ([".", "--no-cache", "--no-cache-filter", "x"], "--no-cache and --no-cache-filter cannot currently be used together"),
    # secrets and ssh
    ([".", "--secret", "id=a,src=nowhere"], 'secret "a" cannot be read from "nowhere": no such file or directory'),
    ([".", "--secret", "id=a"], 'secret "a" cannot be read from "a": no such file or directory'),
    ([".", "--secret", "src=Dockerfile"], "secret missing ID"),
    ([".", "--secret", "id=a,src=big"], 'secret "a" has '),
    ([".", "--secret", "id=a,src=sub"], "it is a directory"),
    ([".", "--secret", "id=a,type=vault"], 'unsupported secret type "vault"'),
    ([".", "--secret", "id=a,size=1"], "unexpected key 'size'"),
    ([".", "--secret", "a"], "invalid field 'a' must be a key=value pair"),
    ([".", "--ssh", "default"], '--ssh "default" wants an ssh agent, and there is none: SSH_AUTH_SOCK is not set'),
    ([".", "--ssh", "a=nowhere"], '"nowhere" cannot be read: no such file or directory'),
    ([".", "--ssh", "a=agent", "--ssh", "a=agent"], 'names the id "a" twice'),
    ([".", "--ssh", "a=agent,agent"], "names 2 sockets; it may name one"),
    ([".", "--ssh", "a=agent,Dockerfile"], "names both a socket and key files"),
    # steps
    ([".", "--add-host", "db"], 'invalid host "db"'),
    ([".", "--add-host", "db:10.0.0"], 'invalid host "db:10.0.0"'),
    ([".", "--add-host", ":10.0.0.1"], 'invalid host ":10.0.0.1"'),
    ([".", "--add-host", "db=fe80::1%eth0"], "invalid host"),
    ([".", "--add-host", "db:host-gateway"], "host-gateway is not supported"),
    ([".", "--allow", "root"], "invalid entitlement: root"),
    ([".", "--allow", "network.host=1"], "invalid entitlement: network.host=1"),
    ([".", "--allow", "buildx.local.delete=x"], "buildx.local.delete does not accept a value"),
    ([".", "--allow", "device=gpu,name=x"], 'invalid device config "name=x"'),
    ([".", "--network", "bridge"], 'network mode "bridge" not supported by buildkit'),
    ([".", "--shm-size", "much"], 'invalid size: "much"'),
    ([".", "--shm-size", "-1"], 'invalid size: "-1"'),
    ([".", "--shm-size", "9" * 400], "invalid size"),
    ([".", "--ulimit", f"nofile={'9' * 5000}"], "a limit is not a number"),
    ([".", "--ulimit", "nofile"], 'invalid ulimit argument: "nofile"'),
    ([".", "--ulimit", "files=1"], 'invalid ulimit type: "files"'),
    ([".", "--ulimit", "nofile=2:1"], "soft limit must be less than or equal to hard limit"),
    ([".", "--ulimit", "nofile=-1:1"], "soft limit must be less than or equal to hard limit"),
    ([".", "--ulimit", "nofile=1:2:3"], "too many limit value arguments"),
    ([".", "--ulimit", "nofile=many"], "a limit is not a number"),
    ([".", "--resource", "memory"], 'invalid resource "memory", expected key=value'),
    ([".", "--resource", "gpu=1"], 'unknown resource "gpu"'),
    ([".", "--resource", "cpu-quota=half"], 'invalid value "half" for resource cpu-quota'),
    ([".", "-m", "lots"], 'invalid value "lots" for resource memory'),
    # asking, showing, where
    ([".", "--call", "check,outline"], "invalid print value"),
    ([".", "--call", "check,format=xml"], 'format "xml" is not known'),
    ([".", "--call", "check,colour=no"], 'invalid print field: "colour=no"'),
    ([".", "--call", "check,ignorestatus=perhaps"], 'invalid ignorestatus print value: "perhaps"'),
    ([".", "--call", "format=json"], "names no method"),
    ([".", "--check", "--call", "outline"], "cannot be used together"),
    ([".", "--policy", "filename=x.rego"], "cannot be applied"),
    ([".", "--policy", "colour=red"], 'invalid value "colour=red"'),
    ([".", "--progress", "loud"], ": 'loud' is not one of"),
    ([".", "--progress", "plain", "-q"], "progress=plain and quiet cannot be used together"),
    ([".", "--registry-secret", ""], "--registry-secret has no name"),
    ([".", "--retries", "-1"], "--retries -1 is less than 0"),
    ([".", "--timeout", "soon"], '--timeout "soon" is not a time'),
    ([".", "--timeout", "0"], '--timeout "0" is not a time'),
    ([".", "--builder", "ssh://host"], "ssh:// is not supported"),
    ([".", "--auth-via", "magic"], ": 'magic' is not one of"),
    ([".", "--compress-context", "gzip"], ": 'gzip' is not one of"),
    ([".", "--emulation", "perhaps"], ": 'perhaps' is not one of"),
]


@pytest.fixture(autouse=True)
def _files(context: Path, stdin: Callable[[bytes], None]) -> Iterator[None]:
    """What the cases name, and an empty stdin."""
    (context / "sub").mkdir()
    (context / "bad.env").write_text("A=1\n=2\n")
    with open(context / "big", "wb") as big:
        big.truncate(500 * 1024 + 1)
    stdin(b"")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("agent")
        yield


@pytest.mark.parametrize(("args", "words"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_sentence_with_exit_code_2(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_app(app, "kubectl build", [*args, "--kubeconfig", "no-kubeconfig"])

    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert words in told.err
    first, *rest = told.err.splitlines()
    assert first.startswith("error: ")
    assert not first.endswith(".")
    assert [line.split(":")[0] for line in rest] in ([], ["hint"])


def test_bad_input_is_refused_by_kubectl_buildkit_build_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(buildkit_app, "kubectl buildkit", ["build", ".", "--network", "bridge"]) == 2
    assert 'network mode "bridge" not supported by buildkit' in capsys.readouterr().err


def test_stdin_with_a_dockerfile_and_a_named_one_is_ambiguous(stdin: Callable[[bytes], None], capsys: pytest.CaptureFixture[str]) -> None:
    stdin(b"FROM scratch\n")

    assert run_app(app, "kubectl build", ["-", "-f", "Dockerfile"]) == 2
    assert "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "files", "args", "code", "words"),
    [
        ({"BUILDKIT_PROGRESS": "loud"}, {}, [], 2, 'invalid progress mode "loud" in BUILDKIT_PROGRESS'),
        ({"BUILDKIT_HOST": "docker-container://x"}, {}, [], 2, "docker-container:// is not supported"),
        ({"BUILDKIT_HOST": "mine"}, {}, [], 2, 'BUILDKIT_HOST "mine" is not the address of a daemon'),
        ({"DOCKER_DEFAULT_PLATFORM": "a/b/c/d"}, {}, [], 2, 'platform "a/b/c/d" is not valid'),
        ({"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "none"}, {}, [], 3, 'failed to read policy file "none"'),
        ({"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "p"}, {"p": "rules:"}, [], 3, 'failed to parse source policy "p"'),
        ({"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "p"}, {"p": "[]"}, [], 3, "it is not a JSON object"),
        ({"DOCKER_CONFIG": "."}, {"config.json": "{"}, [], 3, "is not valid JSON"),
        ({"DOCKER_CONFIG": "."}, {"config.json": '{"proxies": 1}'}, [], 3, 'has "proxies" that are not objects'),
        ({"DOCKER_CONFIG": "."}, {"config.json": '{"proxies": {"default": {"httpProxy": 1}}}'}, [], 3, "has a proxy that is not a string"),
        (
            {"AWS_CONFIG_FILE": "aws"},
            {"aws": "secret, no section"},
            ["--cache-to", "type=s3"],
            3,
            'the AWS file "aws" cannot be read',
        ),
        ({}, {"Dockerfile.rego": "package docker"}, [], 2, 'the policy "Dockerfile.rego" beside the Dockerfile cannot be applied'),
    ],
)
def test_bad_environment_is_one_sentence(
    variables: dict[str, str],
    files: dict[str, str],
    args: list[str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in files.items():
        Path(name).write_text(text)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert run_app(app, "kubectl build", [".", *args, "--kubeconfig", "no-kubeconfig"]) == code
    told = capsys.readouterr()
    assert words in told.err
    assert told.out == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
@pytest.mark.parametrize(
    ("path", "args", "words"), [("sub", ["sub"], 'build context "sub" cannot be read'), ("Dockerfile", ["."], "cannot be read")]
)
def test_what_cannot_be_read_is_named(path: str, args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(path).chmod(0)

    assert run_app(app, "kubectl build", args) == 2
    assert words in capsys.readouterr().err


def test_credentials_of_a_cache_are_never_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("secret_access_key=hunter2", "type=s3x,secret_access_key=hunter2", "type=s3,mode=all,secret_access_key=hunter2"):
        assert run_app(app, "kubectl build", [".", "--cache-to", text]) == 2

    assert "hunter2" not in capsys.readouterr().err
