"""The builds that both clients are asked for: at least one for each option of `docker buildx build`."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LAYOUT_DIGEST = "sha256:" + "1" * 64

_DOCKERFILE = "FROM scratch AS first\nFROM scratch\nCOPY file /\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One build. In `words` (shell words without quoting) `{dir}` is the client's own directory, which `prepare` has filled; the context
    comes last, `context` unless said otherwise. `only_ours` are words that buildx does not know, where it does always what they ask for."""

    name: str
    words: str = ""
    more: tuple[str, ...] = ()
    context: str = "context"
    environ: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    only_ours: str = ""

    def arguments(self, directory: Path) -> list[str]:
        """The command line after `build`."""
        return [word.replace("{dir}", str(directory)) for word in (*self.words.split(), *self.more, self.context)]

    def variables(self, directory: Path) -> dict[str, str]:
        """The environment that the case is about; attestations are off but where it says otherwise."""
        variables = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", **self.environ}
        return {name: value.replace("{dir}", str(directory)) for name, value in variables.items()}


def _archive(mode: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(_DOCKERFILE)
        archive.addfile(info, io.BytesIO(_DOCKERFILE.encode()))
    return data.getvalue()


_AGENT = {"SSH_AUTH_SOCK": "{dir}/agent.sock"}
_POLICY = {
    "version": 1,
    "rules": [
        {"action": "DENY", "selector": {"identifier": "docker-image://bad.example/*", "match_type": "REGEX"}},
        {
            "action": "CONVERT",
            "selector": {"identifier": "https://x.example", "constraints": [{"key": "a", "value": "b", "condition": "NOTEQUAL"}]},
            "updates": {"identifier": "https://y.example", "attrs": {"http.checksum": "sha256:0"}},
        },
    ],
}

_GHA = {"ACTIONS_RUNTIME_TOKEN": "t0ken", "ACTIONS_CACHE_URL": "https://cache.example/"}
_GHA_2 = {"ACTIONS_RUNTIME_TOKEN": "t0ken", "ACTIONS_RESULTS_URL": "https://results.example/", "ACTIONS_CACHE_SERVICE_V2": "true"}
_AWS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "token"}

_S3 = "type=s3,region=eu,bucket=b,name=n"
_AZ = "type=azblob,account_url=https://a.example,name=n,secret_access_key=k"

CASES = (
    Case("plain"),
    # Contexts and Dockerfiles.
    Case("stdin-tar", context="-", stdin=_archive("w")),
    Case("stdin-gzip", "-f sub/Dockerfile", context="-", stdin=_archive("w:gz")),
    Case("stdin-dockerfile", context="-", stdin=b"FROM scratch\n"),
    Case("git", "-f docker/Dockerfile", context="https://git.example/team/app.git#main:sub"),
    Case("git-query", context="https://git.example/team/app.git?branch=main&subdir=sub"),
    Case("git-ssh", context="ssh://git@git.example/team/app.git", environ=_AGENT),
    Case("git-ssh-query", context="git@git.example:team/app.git?ref=v1", environ=_AGENT),
    Case("http-query", context="http://files.example/context.tar.gz?version=2"),
    Case("remote-dockerfile-here", "-f {dir}/other/Dockerfile.dev", context="https://git.example/team/app.git"),
    Case("remote-dockerfile-stdin", "-f -", context="https://git.example/team/app.git", stdin=b"FROM scratch\n"),
    Case("file", "--file context/sub/Dockerfile.dev"),
    Case("file-elsewhere", "-f other/Dockerfile.dev"),
    Case("file-stdin", "-f -", stdin=b"FROM scratch\n"),
    Case("file-url", "-f http://files.example/Dockerfile"),
    Case("file-lower", context="lower"),
    Case(
        "named-directories",
        "--build-context data=other --build-context context=other --build-context dockerfile=other"
        " --build-context golang:1.22=other --build-context reg.example/a/b:latest=other",
    ),
    Case(
        "named-remote",
        "--build-context alpine=docker-image://alpine:3.20 --build-context docker.io/library/debian:latest=docker-image://busybox"
        " --build-context src=https://git.example/team/app.git#v1 --build-context file=https://files.example/x.tar.gz",
    ),
    Case("named-query", "--build-context src=https://git.example/team/app.git?ref=v1"),
    Case("named-query-and-query", "--build-context src=https://g.example/a.git?ref=v1", context="https://g.example/b.git?ref=v2"),
    Case(
        "named-layouts",
        "--build-context one=oci-layout://{dir}/layout --build-context two=oci-layout://{dir}/layout:v1"
        f" --build-context three=oci-layout://{{dir}}/layout@{_LAYOUT_DIGEST}",
    ),
    # What the frontend is told.
    Case("build-arg", "--build-arg A=1 --build-arg FROM_ENV --build-arg NOT_THERE --build-arg EMPTY=", environ={"FROM_ENV": "x=y"}),
    Case("build-arg-multi-platform", "--build-arg BUILDKIT_MULTI_PLATFORM=1 --platform linux/amd64"),
    Case("build-arg-no-multi-platform", "--build-arg BUILDKIT_MULTI_PLATFORM=0 --platform linux/amd64"),
    Case("build-arg-inline-cache", "--build-arg BUILDKIT_INLINE_CACHE=1 -t r.example/a --push"),
    Case("build-arg-syntax", more=("--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1 --flag")),
    Case("build-arg-buildinfo", "--build-arg BUILDKIT_INLINE_BUILDINFO_ATTRS=1 -o type=oci,dest={dir}/o.tar -o type=local,dest={dir}/o"),
    Case("source-date-epoch", environ={"SOURCE_DATE_EPOCH": "0"}),
    Case("source-date-epoch-given", "--build-arg SOURCE_DATE_EPOCH=5", environ={"SOURCE_DATE_EPOCH": "0"}),
    Case("proxies", "--build-arg no_proxy=mine", environ={"DOCKER_CONFIG": "{dir}/proxies"}),
    Case("image", "--label a=b --label empty --label c=d=e --target first --pull --no-cache-filter first --no-cache-filter second"),
    Case("no-cache", "--no-cache"),
    Case("platforms", "--platform linux/amd64,linux/arm64 --platform linux/arm/v7,windows/amd64"),
    Case("platform-environment", environ={"DOCKER_DEFAULT_PLATFORM": "linux/amd64"}),
    Case(
        "steps",
        "--add-host a.example:10.0.0.1 --add-host b.example=10.0.0.2,c.example:10.0.0.3 --add-host v6.example:::1"
        " --add-host w6.example=[2001:db8::1] --cgroup-parent builds --shm-size 128m --ulimit nofile=1024:2048 --ulimit core=0"
        " --network none",
    ),
    Case(
        "resources",
        "--resource memory=2g --resource cpu-quota=50000 --resource cpu-shares=2 --resource cpuset-cpus=0-1"
        " --resource memory-swap=4g --resource cpu-period=100000 --resource cpuset-mems=0",
    ),
    Case("resources-old-flags", "-m 1g --cpu-quota 5 -c 3 --cpuset-cpus 0"),
    Case("network-host", "--network=host"),
    Case("network-default", "--network default"),
    Case("source-policy", environ={"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "{dir}/policy.json"}),
    Case("allow", "--allow network.host --allow security.insecure --allow device=vendor.example/gpu"),
    Case("vcs", context="repository"),
    Case("vcs-sub", "-f repository/sub/Dockerfile --build-context data=repository", context="repository/sub"),
    Case("vcs-off", context="repository", environ={"BUILDX_GIT_INFO": "0"}),
    Case("vcs-labels", context="repository", environ={"BUILDX_GIT_LABELS": "1", "BUILDX_GIT_CHECK_DIRTY": "1"}),
    # Attestations.
    Case("attest", "--attest type=sbom --attest type=provenance,mode=max"),
    Case("attest-disabled", "--attest type=sbom,disabled=true --attest type=provenance,mode=min"),
    Case("attest-shorthands", "--provenance true --sbom generator=scan.example/it"),
    Case("attest-shorthands-off", "--provenance=false --sbom=true"),
    Case("attest-mode", "--provenance mode=max,version=v1"),
    Case("default-attestations", "-t r.example/a --push", environ={"BUILDX_NO_DEFAULT_ATTESTATIONS": "0"}),
    # Cache.
    Case("cache-references", "--cache-from r.example/a:c,r.example/b --cache-to r.example/a:c"),
    Case(
        "cache-remote",
        "--cache-from type=registry,ref=r.example/a:c --cache-to type=registry,ref=r.example/a:c,mode=max,oci-mediatypes=true"
        " --cache-from type=gha,scope=s --cache-to type=gha,mode=max,scope=s --cache-to type=inline"
        f" --cache-from {_S3} --cache-to {_S3},mode=max --cache-from {_AZ} --cache-to {_AZ}",
        environ=_GHA | _AWS,
    ),
    Case("cache-gha-2", "--cache-from type=gha --cache-to type=gha", environ=_GHA_2),
    Case("cache-gha-elsewhere", "--cache-from type=gha --cache-to type=gha"),
    Case("cache-s3-given", f"--cache-to {_S3},access_key_id=a,secret_access_key=b", environ=_AWS),
    Case("cache-local-to", "--cache-to type=local,dest={dir}/cache,mode=max --cache-to type=local,dest={dir}/other-cache,tag=t,reset=true"),
    Case(
        "cache-local-from",
        "--cache-from type=local,src={dir}/layout --cache-from type=local,src={dir}/layout,tag=v1"
        f" --cache-from type=local,src={{dir}}/layout,tag=no --cache-from type=local,src={{dir}}/layout,digest={_LAYOUT_DIGEST}",
    ),
    # Outputs.
    Case("tag", "-t r.example/team/app:v1 --tag app"),
    Case("push", "-t r.example/a:v1 -t b --push"),
    Case("push-with-output", "-t r.example/a:v1 --push --output type=image,compression=zstd,force-compression=true"),
    Case("push-beside-file", "-t r.example/a:v1 --push -o type=tar,dest={dir}/o.tar"),
    Case("output-directory", "--output {dir}/o"),
    Case("output-delete", "-o type=local,dest=o,mode=delete"),
    Case("output-delete-allowed", "-o type=local,dest={dir}/o,mode=delete --allow buildx.local.delete"),
    Case("output-stdout", "-o -"),
    Case("output-oci-layout", "-o type=oci,dest={dir}/o,tar=false"),
    Case(
        "outputs",
        "-o type=local,dest={dir}/o,platform-split=false -o type=tar,dest={dir}/o.tar"
        " -o type=oci,dest={dir}/oci.tar,compression=estargz,compression-level=3,rewrite-timestamp=true,oci-artifact=true"
        " -o type=docker,dest={dir}/docker.tar,name=r.example/d"
        " -o type=image,name=r.example/a,unpack=true,store=true -o type=image,name=r.example/b,push=true"
        " -o type=registry,name=r.example/c,oci-mediatypes=false,registry.insecure=true",
    ),
    Case("outputs-with-tag", "-t r.example/a -o type=oci,dest={dir}/oci.tar,name=r.example/b -o type=docker,dest={dir}/docker.tar"),
    Case("output-cacheonly", "-o type=cacheonly"),
    Case("annotation", "-t r.example/a --push --annotation a=1 --annotation manifest:b=2"),
    Case(
        "annotation-kinds",
        "--platform linux/amd64,linux/arm64 --annotation index,manifest:k=v --annotation manifest-descriptor:d=e"
        " --annotation manifest[linux/arm64]:k=w --annotation index-descriptor:i=j -t r.example/a --push",
    ),
    Case("annotation-outputs", "--annotation a=1 -o type=local,dest={dir}/o -o type=oci,dest={dir}/o.tar,annotation.b=2"),
    Case("result-files", "--iidfile {dir}/iid --metadata-file {dir}/metadata.json --quiet -t r.example/a --push"),
    Case("progress", "--progress rawjson"),
    Case("progress-none", "--progress none"),
    # What the session offers.
    Case("secret", "--secret id=one,src=other/file --secret id=two,env=TOKEN --secret id=TOKEN", environ={"TOKEN": "x"}),
    Case("ssh", "--ssh default={dir}/key --ssh other={dir}/key"),
    Case("tokens", only_ours="--auth-via=client"),
    # Questions.
    Case("call-outline", "--call outline --build-context data=other -t r.example/a --push"),
    Case("call-targets", "--call targets,format=json"),
    Case("call-describe", "--call subrequests.describe"),
    Case("check", "--check --build-arg A=1"),
)


def populate(directory: Path, template: Path) -> None:
    """Make a client's directory like `template`, and with an agent's socket, which cannot be copied."""
    shutil.copytree(template, directory, symlinks=True)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(directory / "agent.sock"))


def prepare(directory: Path) -> None:
    """Make `directory`, with what the cases name."""
    for name, text in {
        "context/Dockerfile": _DOCKERFILE,
        "context/file": "content",
        "context/sub/Dockerfile.dev": _DOCKERFILE,
        "other/Dockerfile.dev": _DOCKERFILE,
        "other/file": "content",
        "lower/dockerfile": _DOCKERFILE,
        "repository/Dockerfile": _DOCKERFILE,
        "repository/sub/Dockerfile": _DOCKERFILE,
        "docker/config.json": "{}",
        "policy.json": json.dumps(_POLICY),
        "proxies/config.json": json.dumps({"proxies": {"default": {"httpProxy": "http://proxy.example:1", "noProxy": "theirs"}}}),
    }.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    _key(directory / "key")
    _layout(directory / "layout")
    _repository(directory / "repository")


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def _layout(directory: Path) -> None:
    """An OCI layout whose index names one manifest twice."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    (blobs / _LAYOUT_DIGEST.partition(":")[2]).write_text("{}")
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    manifests = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": _LAYOUT_DIGEST,
            "size": 2,
            "annotations": {"org.opencontainers.image.ref.name": tag},
        }
        for tag in ("latest", "v1")
    ]
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


def _repository(directory: Path) -> None:
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for who in ("AUTHOR", "COMMITTER"):
        environ |= {f"GIT_{who}_NAME": "a", f"GIT_{who}_EMAIL": "a@example.org", f"GIT_{who}_DATE": "2024-01-01T00:00:00Z"}
    for command in ("init -q -b main", "add .", "commit -q -m first", "remote add origin https://user:word@git.example/team/app.git"):
        subprocess.run(["git", *command.split()], cwd=directory, env=environ, check=True)
