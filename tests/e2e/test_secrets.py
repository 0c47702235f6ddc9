"""Secrets, agents and logins: steps and registries get them, and nothing keeps them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import layout
from tests.e2e.kubectl import BuildLog, Namespace, Running
from tests.e2e.registry import Registry
from tests.integration import token_registry
from tests.integration.services import probe
from tests.integration.token_registry import TokenRegistry
from tests.parity.servers import serving
from tests.unit.session.ssh_keys import make_key, running_agent

BOTH = "--platform=linux/amd64,linux/arm64"
POOLS = ("amd64", "arm64")
STATE = "/var/lib/buildkit /home/user/.local/share/buildkit /tmp /run/buildkit"

DOCKERFILE = """\
FROM busybox
ARG URL
RUN --mount=type=secret,id=file,required --mount=type=secret,id=variable,env=TOKEN,required \\
    cat /run/secrets/file | sha256sum >/file.sum && echo -n "$TOKEN" | sha256sum >/variable.sum && wget -q -O /answer $URL
"""


@dataclass
class Gate:
    """A server that lets steps wait: they are told to go on when `open` is set."""

    url: str = ""
    waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    open: threading.Event = field(default_factory=threading.Event)

    def wait_for(self, count: int) -> None:
        """Return when `count` steps wait."""
        for number in range(count):
            assert self.waiting.acquire(timeout=90), f"only {number} of {count} steps came to the gate in 90 s"


@contextmanager
def gate() -> Iterator[Gate]:
    found = Gate()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.waiting.release()
            found.open.wait(90)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"go on")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((layout.HOST_IP, 0), Handler)
    found.url = f"http://{layout.HOST_IP}:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.open.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """All that a build with two secrets left: text by where it was found. `sums` are what the steps computed of the secrets."""

    values: tuple[str, str]
    places: dict[str, str] = field(repr=False)
    sums: dict[str, tuple[bytes, bytes]]


def processes() -> str:
    """The command lines of all processes, those in pods too."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def contents(directory: Path) -> str:
    """All files below a directory, with their names."""
    return "\n".join(f"{path} {path.read_bytes().decode(errors='replace')}" for path in directory.rglob("*") if path.is_file())


def blobs(registry: Registry, repository: str, tags: list[str]) -> str:
    """Every document and every uncompressed file that the tags of a repository lead to."""
    found = []
    for tag in tags:
        pending = [registry.manifest(repository, tag)]
        while pending:
            manifest = pending.pop()
            found.append(manifest.data.decode())
            document = manifest.json
            for child in document.get("manifests", ()):
                if "manifest" in child["mediaType"] or "index" in child["mediaType"]:
                    pending.append(registry.manifest(repository, child["digest"]))
            for blob in [*document.get("layers", ()), *([document["config"]] if "config" in document else ())]:
                data = registry.blob(repository, blob["digest"])
                inflated = subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=False, timeout=20).stdout
                found.append((inflated or data).decode(errors="replace"))
    return "\n".join(found)


@pytest.fixture(scope="module")
def traces(namespace: Namespace, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """Build with a secret in a file and one in a variable on two pools, look around while the steps run, and gather all that is left."""
    directory, temporary = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("temporary")
    (directory / "Dockerfile").write_text(DOCKERFILE)
    values = secrets.token_hex(20), secrets.token_hex(20)
    file = tmp_path_factory.mktemp("secret") / "file"
    file.write_text(values[0])
    metadata = temporary.parent / "metadata.json"
    repository = namespace.repository("secret")
    base = f"{namespace.cluster.registry}/{repository}"
    kubectl = namespace.kubectl.with_env(TMPDIR=str(temporary), KB_VARIABLE=values[1], BUILDX_METADATA_PROVENANCE="max")
    places: dict[str, str] = {}
    with gate() as door:
        running = kubectl.start(
            *("build", directory, BOTH, "-t", f"{base}:v1", "--push", "--registry-secret=my-secret", "--progress=rawjson"),
            *("--secret", f"id=file,src={file}", "--secret", "id=variable,env=KB_VARIABLE", "--build-arg", f"URL={door.url}"),
            *("--provenance=mode=max", "--metadata-file", metadata, "--cache-to", f"type=registry,ref={base}:cache,mode=max"),
        )
        _wait(door, running)
        places["command lines"] = processes()
        places["temporary files"] = contents(temporary)
        door.open.set()
        result = running.wait(120).ok()
    log = BuildLog.of(result)
    places |= {
        "stdout": result.stdout,
        "stderr": result.stderr,
        "steps' output": log.output,
        "metadata": metadata.read_text(),
        "registry": blobs(registry, repository, registry.tags(repository)),
        "objects": namespace.kubectl("get", "all,configmaps,secrets,events,leases,endpoints", "-o", "yaml").ok().stdout,
        "temporary files afterwards": contents(temporary),
    }
    for arch in POOLS:
        pod = f"buildkit-{arch}-0"
        places[f"log of {pod}"] = namespace.kubectl("logs", pod, "--all-containers").ok().stdout
        records = namespace.history(pod)
        places[f"history of {pod}"] = json.dumps(records)
        places[f"logs in {pod}"] = "".join(_debug(namespace, pod, "logs", record["Ref"]) for record in records)
    index = registry.manifest(repository, "v1").json["manifests"]
    images = [registry.image(repository, child["digest"]) for child in index if child["platform"]["os"] == "linux"]
    sums = {image.platform: (image.files["file.sum"], image.files["variable.sum"]) for image in images}
    return Traces(values=values, places=places, sums=sums)


def _wait(door: Gate, running: Running) -> None:
    try:
        door.wait_for(len(POOLS))
    except AssertionError as error:
        running.process.terminate()
        raise AssertionError(f"{error}\n{running.wait(30)}") from error


def _debug(namespace: Namespace, pod: str, *command: str) -> str:
    return namespace.kubectl("exec", pod, "-c", "buildkitd", "--", "buildctl", "debug", *command).ok().stdout


def test_secrets_reach_the_steps_of_both_pools(traces: Traces) -> None:
    expected = tuple(f"{hashlib.sha256(value.encode()).hexdigest()}  -\n".encode() for value in traces.values)
    assert traces.sums == {"linux/amd64": expected, "linux/arm64": expected}


def test_secrets_appear_nowhere(traces: Traces) -> None:
    """The names of secrets do: this shows that the right things were looked at."""
    assert "KB_VARIABLE" in traces.places["command lines"]
    assert "id=variable" in traces.places["stderr"]
    assert "run/secrets/file" in traces.places["metadata"]
    for name, text in traces.places.items():
        for value in traces.values:
            for form in (value, base64.b64encode(value.encode()).decode().rstrip("="), value.encode().hex()):
                assert form not in text, f"a secret appears in: {name}"


def test_secrets_are_in_no_file_of_the_builders_pods(traces: Traces, namespace: Namespace) -> None:
    words = "\n".join(traces.values)
    for arch in POOLS:
        script = f"touch /tmp/there && cat >/tmp/.words && grep -rlFf /tmp/.words {STATE} 2>/dev/null; rm /tmp/.words"
        found = namespace.kubectl("exec", "-i", f"buildkit-{arch}-0", "-c", "buildkitd", "--", "sh", "-c", script, stdin=words).ok()
        assert found.stdout.split() == ["/tmp/.words"]


def test_secret_that_is_missing_names_itself(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    directory = context({"Dockerfile": "FROM busybox\nRUN --mount=type=secret,id=password,required cat /run/secrets/password\n"})
    namespace.kubectl("build", directory).failed(1, "password", "not found")
    namespace.kubectl("build", directory, "--secret", f"id=password,src={tmp_path / 'no'}").failed(2, str(tmp_path / "no"), "password")


def test_secret_of_a_failing_step_is_not_told(namespace: Namespace, context: Callable[..., Path]) -> None:
    value = secrets.token_hex(20)
    mount = "--mount=type=secret,id=TOKEN,env=TOKEN"
    directory = context({"Dockerfile": f'FROM busybox\nRUN {mount} test -n "$TOKEN" && echo about to fail && exit 7\n'})
    result = namespace.kubectl.with_env(TOKEN=value)("build", directory, "--secret=id=TOKEN", "--debug").failed(1, "about to fail", "7")
    assert value not in result.stderr + result.stdout


def agent_step(name: str) -> dict[str, str | bytes]:
    step = f"RUN --mount=type=ssh,id={name},required /probe agent 1"
    text = f"FROM busybox AS b\nENV TEST={secrets.token_hex(4)}\nCOPY --chmod=755 probe /\n{step}\nFROM scratch\nCOPY --from=b /result /\n"
    return {"Dockerfile": text, "probe": probe().read_bytes()}


def test_ssh_agent_and_key_files_sign_for_a_step(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    key, public = make_key(tmp_path, "key")
    private = key.read_text().splitlines()[2]
    told: dict[str, Any] = {}
    flags = {"agent": "default", "socket": f"default={tmp_path / 'agent.sock'}", "file": f"default={key}"}
    with running_agent(tmp_path / "agent.sock", key) as socket:
        for name, flag in flags.items():
            out = tmp_path / f"out-{name}"
            kubectl = namespace.kubectl.with_env(SSH_AUTH_SOCK=str(socket))
            result = kubectl(
                "build", context(agent_step("default")), "--platform=linux/amd64", "--ssh", flag, "-o", out, "--progress=plain"
            ).ok()
            told[name] = json.loads((out / "result").read_text())
            assert private not in result.stderr
    for name, (connection,) in told.items():
        assert connection["Keys"] == [public.decode()], name
        assert connection["Signed"] == 1, name


def test_ssh_that_is_missing_or_unreadable_is_told_before_the_build(
    namespace: Namespace, context: Callable[..., Path], tmp_path: Path
) -> None:
    directory = context(agent_step("default"))
    namespace.kubectl("build", directory, f"--ssh=default={tmp_path / 'no'}").failed(2, str(tmp_path / "no"))
    without = {name: value for name, value in namespace.kubectl.variables.items() if name != "SSH_AUTH_SOCK"}
    type(namespace.kubectl)(variables=without)("build", directory, "--ssh=default").failed(2, "SSH_AUTH_SOCK")


def test_secret_of_a_git_context_opens_it_on_both_pools_and_is_not_told(
    namespace: Namespace, context: Callable[..., Path], tmp_path: Path
) -> None:
    token, out = secrets.token_hex(20), tmp_path / "out"
    work = context({"Dockerfile": "FROM busybox AS b\nRUN uname -m >/machine\nFROM scratch\nCOPY --from=b /machine /\n"})
    by = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["commit", "-q", "-m", "m"],
        ["clone", "-q", "--bare", ".", tmp_path / "app.git"],
    ):
        subprocess.run(["git", *by, *words], cwd=work, check=True, timeout=20)
    kubectl = namespace.kubectl.with_env(GIT_AUTH_TOKEN=token)
    with serving(tmp_path, login=f"x-access-token:{token}") as url:
        kubectl("build", f"{url}/app.git#main", BOTH).failed(1, "app.git")
        result = kubectl("build", f"{url}/app.git#main", BOTH, "--secret=id=GIT_AUTH_TOKEN", "-o", out, "--progress=plain").ok()

    assert {path.parent.name for path in out.rglob("machine")} == {"linux_amd64", "linux_arm64"}
    assert token not in result.stderr
    assert base64.b64encode(f"x-access-token:{token}".encode()).decode() not in result.stderr


@contextmanager
def tokens_wanted(behind: str) -> Iterator[TokenRegistry]:
    """The registry that wants tokens, where pods reach it, in a thread of its own."""
    found, ready = TokenRegistry(behind=behind), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with token_registry.serve(found, layout.HOST_IP):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(20)
        yield found
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@pytest.mark.parametrize("via", ["cluster", "client"])
@pytest.mark.parametrize("platforms", ["--platform=linux/amd64", BOTH])
def test_auth_of_a_registry_that_wants_tokens_is_done_by_who_is_named(
    namespace: Namespace, insecure_registry: Registry, context: Callable[..., Path], via: str, platforms: str
) -> None:
    repository = namespace.repository("tokens")
    directory = context({"Dockerfile": "FROM busybox\nRUN uname -m >/machine\n"})
    with tokens_wanted(namespace.cluster.insecure_registry) as door:
        name = f"tokens-{namespace.names()}"
        login = f"--docker-username={token_registry.USER}", f"--docker-password={token_registry.PASSWORD}"
        namespace.kubectl("create", "secret", "docker-registry", name, f"--docker-server={door.address}", *login).ok()
        output = f"type=registry,name={door.address}/{repository}:v1,registry.insecure=true"

        namespace.kubectl("build", directory, platforms, f"--auth-via={via}", f"--registry-secret={name}", "-o", output).ok()

        assert insecure_registry.tags(repository) == ["v1"]
        assert door.refused == 0
        agents = {agent.partition("/")[0] for agent in door.agents}
        assert ("containerd" in agents) == (via == "cluster"), agents


@pytest.mark.parametrize("via", ["cluster", "client"])
def test_auth_of_a_registry_that_knows_passwords_only_works_either_way(
    namespace: Namespace, registry: Registry, context: Callable[..., Path], via: str
) -> None:
    repository = namespace.repository("basic")
    directory = context({"Dockerfile": "FROM busybox\nRUN uname -m >/machine\n"})
    name = f"{namespace.cluster.registry}/{repository}:v1"

    namespace.kubectl("build", directory, BOTH, "-t", name, "--push", f"--auth-via={via}", "--registry-secret=my-secret").ok()

    assert registry.tags(repository) == ["v1"]
    again = context({"Dockerfile": f"FROM {name}\nRUN cat /machine\n"}, name="again")
    namespace.kubectl("build", again, BOTH, "--pull", f"--auth-via={via}", "--registry-secret=my-secret").ok()
