"""The client as a library: the documentation's code and the example as they are, and what they promise, against a real buildkitd."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from kubectl_build.buildkit import BuildEvent, CacheEntry, Daemon, Output, OutputType, Secret, StatusUpdate, open_daemon
from kubectl_build.errors import SolveError, UsageError

pytestmark = pytest.mark.integration

_ROOT = Path(__file__).parents[2]
_SECONDS = 50
_DOCKERFILE = """\
FROM scratch AS base
ARG VERSION=none
LABEL version=$VERSION
COPY hello /
FROM base
COPY . /all
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A directory to build."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        "FROM scratch AS base\nARG VERSION=none\nLABEL version=$VERSION\nCOPY hello /\nFROM base\nCOPY . /all\n"
    )
    (folder / "hello").write_text("hello\n")
    return folder


def run(arguments: list[str], folder: Path, buildkitd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as a user of the library would."""
    environment = {**os.environ, "BUILDKIT_HOST": f"unix://{buildkitd}", "TOKEN": "not told", "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (_ROOT / "docs" / "library.md").read_text(), re.DOTALL)


def test_library_documentation_has_a_build_of_at_most_ten_lines() -> None:
    first = [line for line in blocks()[0].splitlines() if line.strip()]

    assert len(first) <= 10


def test_library_first_block_of_the_documentation_writes_an_image(app: Path, buildkitd: Path) -> None:
    done = run(["-c", blocks()[0]], app, buildkitd)

    assert done.returncode == 0, done.stderr
    with tarfile.open(app / "app.tar") as archive:
        index = json.loads(archive.extractfile("index.json").read())  # type: ignore[union-attr]  # it is a file
        assert done.stdout.strip() == index["manifests"][0]["digest"]
        manifest = json.loads(archive.extractfile(f"blobs/{done.stdout.strip().replace(':', '/')}").read())  # type: ignore[union-attr]
        config = json.loads(archive.extractfile(f"blobs/{manifest['config']['digest'].replace(':', '/')}").read())  # type: ignore[union-attr]
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "reg.example/app:1"
    assert config["config"]["Labels"] == {"version": "1"}


def test_library_second_block_of_the_documentation_writes_files(app: Path, buildkitd: Path) -> None:
    done = run(["-c", blocks()[1]], app, buildkitd)

    assert done.returncode == 0, done.stderr
    assert (app / "out" / "hello").read_text() == "hello\n"


def test_library_example_shows_steps_and_writes_files(app: Path, buildkitd: Path, tmp_path: Path) -> None:
    done = run([str(_ROOT / "examples" / "library.py"), f"unix://{buildkitd}", str(app), "out"], tmp_path, buildkitd)

    assert done.returncode == 0, done.stderr
    assert re.search(r"^(done|cached) \[base 1/1\] COPY hello /$", done.stdout, re.MULTILINE), done.stdout
    assert "is BuildKit v" in done.stdout.splitlines()[0]
    assert (tmp_path / "out" / "all" / "hello").read_text() == "hello\n"


def test_library_example_without_a_daemon_ends_with_a_sentence(app: Path, buildkitd: Path, tmp_path: Path) -> None:
    done = run([str(_ROOT / "examples" / "library.py"), f"unix://{tmp_path}/nothing", str(app), "out"], tmp_path, buildkitd)

    assert done.returncode == 1
    assert done.stderr == f"error: cannot connect to {tmp_path}/nothing: no such file or directory\n"


@pytest.fixture
async def address(buildkitd: Path) -> str:
    return f"unix://{buildkitd}"


async def build(daemon: Daemon, app: Path, out: Path, **keywords: object) -> None:
    await daemon.build(app, outputs=[Output(type=OutputType.LOCAL, dest=str(out))], **keywords)  # type: ignore[arg-type]  # by name


async def test_build_emits_the_steps_of_the_target_only(address: str, app: Path, tmp_path: Path) -> None:
    events: list[BuildEvent] = []

    async with open_daemon(address) as daemon:
        await build(daemon, app, tmp_path / "out", target="base", emit=events.append)

    names = {vertex.name for event in events if isinstance(event, StatusUpdate) for vertex in event.vertexes}
    assert any("COPY hello" in name for name in names)
    assert not any("COPY . /all" in name for name in names)
    assert not (tmp_path / "out" / "all").exists()


async def test_build_of_a_dockerfile_elsewhere_with_a_named_context_uses_both(address: str, app: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "extra").write_text("extra\n")
    (other / "Build.dockerfile").write_text("FROM scratch\nCOPY hello /\nCOPY --from=more extra /\n")

    async with open_daemon(address) as daemon:
        await build(daemon, app, tmp_path / "out", dockerfile=other / "Build.dockerfile", named_contexts={"more": other})

    assert {path.name for path in (tmp_path / "out").iterdir()} == {"hello", "extra"}


async def test_build_for_two_platforms_writes_a_folder_for_each(address: str, app: Path, tmp_path: Path) -> None:
    async with open_daemon(address) as daemon:
        await build(daemon, app, tmp_path / "out", platforms=["linux/amd64", "linux/arm64"])

    assert {path.name for path in (tmp_path / "out").iterdir()} == {"linux_amd64", "linux_arm64"}


async def test_build_with_attrs_gives_them_to_the_frontend(address: str, app: Path, tmp_path: Path) -> None:
    async with open_daemon(address) as daemon:
        await build(daemon, app, tmp_path / "out", attrs={"target": "base"})

    assert not (tmp_path / "out" / "all").exists()


async def test_build_of_a_url_lets_the_daemon_fetch_it(address: str, tmp_path: Path) -> None:
    async with open_daemon(address) as daemon:
        with pytest.raises(SolveError) as caught:
            await daemon.build("http://127.0.0.1:1/context.tar")

    assert "127.0.0.1:1/context.tar" in caught.value.message


async def test_build_that_fails_raises_with_the_dockerfile_lines(address: str, app: Path) -> None:
    (app / "Dockerfile").write_text("FROM scratch\nCOPY missing /\n")

    async with open_daemon(address) as daemon:
        with pytest.raises(SolveError) as caught:
            await daemon.build(app)

    assert [text for _, text, marked in caught.value.sources[0].lines if marked] == ["COPY missing /"]


def runnable(app: Path, step: str, *options: str) -> None:
    """Make `app` an image in which /cp can run, from this machine's own, with `step` as its arguments."""
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", "/bin/cp"], capture_output=True, text=True, check=True).stdout)
    for path in ("/bin/cp", *libraries):
        shutil.copy(path, app)
    loader = next(Path(path).name for path in libraries if "/ld-" in path)
    command = json.dumps([f"/{loader}", "--library-path", "/", "/cp", *step.split()])
    run = f"RUN {' '.join(options)} {command}"
    (app / "Dockerfile").write_text(f"FROM scratch AS all\nCOPY . /\n{run}\nFROM scratch\nCOPY --from=all /told /\n")


async def test_build_gives_a_secret_to_its_step(address: str, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRARY_TOKEN", "hush")
    runnable(app, "/run/secrets/token /told", "--mount=type=secret,id=token")

    async with open_daemon(address) as daemon:
        await build(daemon, app, tmp_path / "out", secrets=[Secret(id="token", env="LIBRARY_TOKEN")])

    assert (tmp_path / "out" / "told").read_text() == "hush"


async def test_build_that_is_cancelled_stops_in_the_daemon(address: str, app: Path, tmp_path: Path) -> None:
    runnable(app, "/dev/zero /dev/null", f"--mount=type=tmpfs,target=/{os.urandom(4).hex()}")
    runs = asyncio.Event()
    ended: list[str] = []

    def watch(event: BuildEvent) -> None:
        for step in event.vertexes if isinstance(event, StatusUpdate) else ():
            if "RUN" in step.name and step.started:
                runs.set()
            if "RUN" in step.name and step.completed:
                ended.append(step.error)

    async with open_daemon(address) as daemon:
        work = asyncio.create_task(build(daemon, app, tmp_path / "out", emit=watch))
        await asyncio.wait_for(runs.wait(), 30)
        work.cancel()
        await asyncio.wait([work], timeout=30)

    assert work.cancelled()
    assert len(ended) == 1
    assert "context canceled" in ended[0]


async def test_build_with_a_local_cache_writes_it_and_reads_it(address: str, app: Path, tmp_path: Path) -> None:
    events: list[BuildEvent] = []
    cache = tmp_path / "cache"

    async with open_daemon(address) as daemon:
        await build(daemon, app, tmp_path / "out", cache_to=[CacheEntry(type="local", attrs={"dest": str(cache)})])
        reads = [CacheEntry(type="local", attrs={"src": str(cache)})]
        await build(daemon, app, tmp_path / "out", cache_from=reads, emit=events.append)

    entry = json.loads((cache / "index.json").read_text())["manifests"][0]
    names = {step.name for event in events if isinstance(event, StatusUpdate) for step in event.vertexes}
    assert any(name.startswith("importing cache manifest from local") for name in names), names
    assert (cache / "blobs" / entry["digest"].replace(":", "/")).is_file()


async def test_build_of_what_is_not_there_names_it(address: str, app: Path, tmp_path: Path) -> None:
    async with open_daemon(address) as daemon:
        with pytest.raises(UsageError, match=r'context ".*/nowhere" is not a directory'):
            await daemon.build(tmp_path / "nowhere")
        with pytest.raises(UsageError, match=r'Dockerfile ".*/nowhere" is not a file'):
            await daemon.build(app, dockerfile=app / "nowhere")


async def test_builds_at_the_same_time_share_a_connection(address: str, app: Path, tmp_path: Path) -> None:
    async with open_daemon(address) as daemon, asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(build(daemon, app, tmp_path / f"out{number}", labels={"number": str(number)}))

    assert all((tmp_path / f"out{number}" / "hello").exists() for number in range(3))


async def test_open_daemon_of_a_plain_name_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match='"buildkit" is not the address of a daemon'):
        async with open_daemon("buildkit"):
            pass


def test_secret_value_is_not_in_its_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hush")

    assert "hush" not in repr(Secret(id="token", env="TOKEN"))


def test_library_names_are_all_there_and_import_nothing_before_use() -> None:
    script = (
        "import sys, kubectl_build.buildkit as b, kubectl_build.session as s\n"
        "assert not {'grpc', 'h2', 'aiohttp'} & set(sys.modules), 'imported too early'\n"
        "for module in (b, s):\n"
        "    for name in module.__all__:\n"
        "        assert getattr(module, name), name\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=_SECONDS, check=False)

    assert done.returncode == 0, done.stderr
