"""The ways to install the program: the wheel in an environment of its own, the stand-alone executable, and krew with its own tools."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubectl_build import __version__
from tests.cluster import cache
from tests.e2e.environment import ClusterEnv
from tests.e2e.kubectl import Kubectl, Namespace
from tests.e2e.registry import Registry
from tests.krew import krew
from tests.standalone import standalone
from tools.release.__main__ import pack_bundle, pack_standalone
from tools.release.archives import sha256
from tools.release.bundle import fetch_wheels
from tools.release.krew import PLUGIN, manifest
from tools.release.targets import TARGETS, Target

_ROOT = Path(__file__).parents[2]
_SOURCES = ("kubectl_build", "tools", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
_PROGRAMS = {"kubectl-build", "kubectl-buildkit", "kubectl_complete-build", "kubectl_complete-buildkit"}

pytestmark = pytest.mark.timeout(600)


def build_package(folder: Path, mask: int) -> tuple[Path, Path]:
    """Build the wheel and the source archive from a copy of the sources that was made with `mask` as umask."""
    before = os.umask(mask)
    try:
        for name in _SOURCES:
            place, target = _ROOT / name, folder / "src" / name
            if place.is_dir():
                shutil.copytree(place, target, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
            else:
                shutil.copyfile(place, target)
        command = [sys.executable, "-m", "build", "--no-isolation", f"--outdir={folder / 'dist'}", str(folder / "src")]
        subprocess.run(command, env=_without_epoch(), capture_output=True, check=True, timeout=120)
    finally:
        os.umask(before)
    (wheel,), (archive,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    return wheel, archive


def _without_epoch() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source archive."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "src").mkdir()
    return build_package(folder, 0o022)


@pytest.fixture
def only(cluster: ClusterEnv, tmp_path: Path) -> Callable[[Path], Kubectl]:
    """kubectl with one directory of plugins in its PATH, and none of this checkout's."""

    def make(plugins: Path) -> Kubectl:
        own = tmp_path / "kubectl"
        own.mkdir()
        found = shutil.which("kubectl", path=cluster.variables["PATH"])
        assert found is not None
        (own / "kubectl").symlink_to(found)
        return Kubectl(variables={**cluster.variables, "PATH": f"{plugins}:{own}:/usr/bin:/bin", "HOME": str(tmp_path)})

    return make


def test_packages_built_twice_are_the_same_bytes(package: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    again = build_package(tmp_path, 0o077)
    assert [sha256(path) for path in again] == [sha256(path) for path in package]


def test_wheel_in_an_environment_of_its_own_gives_all_programs(
    package: tuple[Path, Path], only: Callable[[Path], Kubectl], tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps", "--no-index", str(package[0])]
    subprocess.run(pip, capture_output=True, check=True, timeout=60)
    libraries = next(environment.glob("lib/python*/site-packages"))
    (libraries / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # what it depends on; links into a checkout are not read
    assert {path.name for path in (environment / "bin").glob("kubectl*")} == _PROGRAMS
    kubectl = only(environment / "bin")
    listed = kubectl("plugin", "list").ok()
    assert {Path(line).name for line in listed.stdout.splitlines()} >= {"kubectl-build", "kubectl-buildkit"}
    assert "warning" not in (listed.stdout + listed.stderr).lower()
    assert "Usage: kubectl build " in kubectl("build", "--help").ok().stdout
    assert kubectl("__complete", "build", "--progress", "raw").ok().stdout == "rawjson\n:4\n"
    where = subprocess.run(
        [python, "-c", "import kubectl_build; print(kubectl_build.__file__)"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert Path(where.stdout.strip()).is_relative_to(environment)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A directory with the stand-alone executable under all its names."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in _PROGRAMS:
        (directory / name).symlink_to(standalone() / "kubectl-buildkit")
    return directory


def test_standalone_executable_builds_and_pushes(
    linked: Path, only: Callable[[Path], Kubectl], namespace: Namespace, registry: Registry, context: Callable[..., Path]
) -> None:
    kubectl = only(linked).with_env(KUBECONFIG=namespace.kubectl.variables["KUBECONFIG"], DOCKER_CONFIG=str(linked))
    repository = namespace.repository()
    built = kubectl(
        "buildkit",
        "build",
        context({"Dockerfile": "FROM busybox\nRUN echo yes > /made\n"}),
        "--registry-secret=my-secret",
        f"--tag={namespace.cluster.registry}/{repository}:v1",
        "--push",
        timeout=150,
    ).ok()
    assert f"{repository}:v1@sha256:" in built.stderr.splitlines()[-1]
    assert registry.image(repository, "v1").files["made"] == b"yes\n"
    assert kubectl("buildkit", "ls", "-o", "name").ok().stdout == "buildkit\n"
    assert kubectl("__complete", "build", "--progress", "raw").ok().stdout == "rawjson\n:4\n"
    assert "warning" not in kubectl("plugin", "list").ok().stderr.lower()


def test_standalone_executable_gives_its_own_libraries_to_no_other_program(linked: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(f'#!/bin/sh\necho "<$LD_LIBRARY_PATH>" >> {tmp_path}/said\nexit 1\n')
    plugin.chmod(0o755)
    user = f"{{exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: {plugin}}}}}"
    (tmp_path / "kubeconfig").write_text(
        "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
        f' clusters: [{{name: c, cluster: {{server: "https://127.0.0.1:1"}}}}], users: [{{name: u, user: {user}}}]}}\n'
    )
    for before, expected in (({}, "<>"), ({"LD_LIBRARY_PATH": "/mine"}, "</mine>")):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig"), **before}
        done = subprocess.run([linked / "kubectl-buildkit", "ls"], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 3, done.stderr
        # Several requests may each have started it, and the last one is killed when the first has failed.
        assert set((tmp_path / "said").read_text().split()) == {expected}
        (tmp_path / "said").unlink()


@pytest.fixture(scope="module")
def published(package: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory with krew's manifest, and all archives behind the addresses in it."""
    folder = tmp_path_factory.mktemp("published")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            archives = {target: _packed(target, package[0], folder) for target in TARGETS}
            found = {target: (f"{address}/{path.name}", sha256(path)) for target, path in archives.items()}
            (folder / f"{PLUGIN}.yaml").write_text(manifest(__version__, address, found))
            yield folder
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _packed(target: Target, wheel: Path, folder: Path) -> Path:
    if target.standalone:
        return pack_standalone(target, standalone(), folder)
    makers = [_ROOT / "pyproject.toml", _ROOT / "tools" / "release" / "bundle.py", _ROOT / "tools" / "release" / "targets.py"]
    item = f"{target.os}-{target.arch}-{cache.key(makers)}"
    wheels = cache.ensure("wheels", item, lambda directory: fetch_wheels(target, directory))
    return pack_bundle(target, wheels, wheel, folder / f"{target.os}-{target.arch}", folder)


def test_manifest_passes_krews_own_check_and_installs_on_every_platform(published: Path, only: Callable[[Path], Kubectl]) -> None:
    tools = krew()
    plugins = published / "bin"
    plugins.mkdir(exist_ok=True)
    if not (plugins / "kubectl-krew").exists():
        (plugins / "kubectl-krew").symlink_to(tools / "krew")
    kubectl = only(plugins)
    checked = kubectl.shell(f"{tools / 'validate-krew-manifest'} -manifest {published / f'{PLUGIN}.yaml'}", timeout=300).ok()
    assert f"all {len(TARGETS)} spec.platforms installed fine" in checked.stderr


def test_plugin_that_krew_has_installed_runs(published: Path, only: Callable[[Path], Kubectl], tmp_path: Path) -> None:
    kubectl = only(tmp_path / "krew" / "bin").with_env(KREW_ROOT=str(tmp_path / "krew"))
    kubectl.shell(f"{krew() / 'krew'} install --manifest={published / f'{PLUGIN}.yaml'}", timeout=120).ok()
    assert "Usage: kubectl buildkit build " in kubectl("buildkit", "build", "--help").ok().stdout
    listed = kubectl("plugin", "list").ok()
    assert str(tmp_path / "krew" / "bin" / "kubectl-buildkit") in listed.stdout.splitlines()
    assert "warning" not in listed.stderr.lower()


def test_build_without_unix_sockets_goes_over_loopback(
    namespace: Namespace, registry: Registry, context: Callable[..., Path], tmp_path: Path
) -> None:
    plugins = tmp_path / "bin"
    plugins.mkdir()
    program = plugins / "kubectl-build"
    program.write_text(
        f"#!{sys.executable}\n"
        "import functools, socket\n"
        "socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)\n"  # the event loop's own
        "del socket.AF_UNIX\n"
        "from kubectl_build.transport import bridge\n"
        "listen = bridge._listen\n"
        "def told(folder):\n"
        "    listener, target = listen(folder)\n"
        f"    open({str(tmp_path / 'targets')!r}, 'a').write(target + '\\n')\n"
        "    return listener, target\n"
        "bridge._listen = told\n"
        "from kubectl_build.cli.main import build_main\n"
        "build_main()\n"
    )
    program.chmod(0o755)
    kubectl = namespace.kubectl.with_env(PATH=f"{plugins}:{namespace.kubectl.variables['PATH']}")
    repository = namespace.repository("loopback")
    files = {"Dockerfile": "FROM busybox\nCOPY big /big\n", "big": os.urandom(3 << 20)}
    both = "--platform=linux/amd64,linux/arm64"
    name = f"{namespace.cluster.registry}/{repository}:v1"
    kubectl("build", context(files), both, "--registry-secret=my-secret", "-t", name, "--push", timeout=150).ok()
    images = registry.images(repository, "v1")
    assert {image.files["big"] for image in images.values()} == {files["big"]}
    targets = (tmp_path / "targets").read_text().splitlines()
    assert targets
    assert all(target.startswith("ipv4:127.0.0.1:") for target in targets)
