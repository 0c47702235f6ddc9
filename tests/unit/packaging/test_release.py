"""What is published with a version: archives that depend on nothing but their files, launchers, krew's manifest."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_build import __version__
from tools.release.archives import sha256, write_archive
from tools.release.bundle import write_bundle
from tools.release.krew import PLUGIN, files, manifest
from tools.release.standalone import ReleaseError
from tools.release.targets import TARGETS, Target

DARWIN = next(target for target in TARGETS if target.os == "darwin")
WINDOWS = next(target for target in TARGETS if target.os == "windows")


def _document() -> dict[str, Any]:
    archives = {target: (f"https://example.com/v{__version__}/{target.archive}", "0" * 64) for target in TARGETS}
    found: dict[str, Any] = yaml.safe_load(manifest(__version__, "https://example.com", archives))
    return found


def test_manifest_follows_krews_rules() -> None:
    document = _document()
    spec = document["spec"]
    assert document["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert document["kind"] == "Plugin"
    assert re.fullmatch(r"[\w-]+", document["metadata"]["name"])
    assert document["metadata"]["name"] == PLUGIN == "buildkit"
    assert re.fullmatch(r"v\d+\.\d+\.\d+", spec["version"])
    assert len(spec["shortDescription"]) < 80
    assert "\n" not in spec["shortDescription"]
    assert spec["homepage"].startswith("https://")
    assert all(len(line) <= 140 for line in (spec["description"] + spec["caveats"]).splitlines())


def test_manifest_has_each_platform_once_with_all_that_krew_asks_for() -> None:
    platforms = _document()["spec"]["platforms"]
    selectors = [tuple(platform["selector"]["matchLabels"].items()) for platform in platforms]
    assert len(set(selectors)) == len(selectors) == len(TARGETS)
    assert {"linux", "darwin", "windows"} == {dict(selector)["os"] for selector in selectors}
    for platform, target in zip(platforms, TARGETS, strict=True):
        assert platform["uri"].endswith(".zip" if target.os == "windows" else ".tar.gz")
        assert re.fullmatch("[0-9a-f]{64}", platform["sha256"])
        taken = [item["from"] for item in platform["files"]]
        assert platform["bin"] in taken
        assert platform["bin"].endswith(".exe") == (target.os == "windows")
        assert "LICENSE" in taken
        assert {item["to"] for item in platform["files"]} == {"."}


def test_archives_of_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    for name, mask in (("one", 0o022), ("two", 0o077)):
        before = os.umask(mask)
        try:
            (tmp_path / name / "lib").mkdir(parents=True)
            (tmp_path / name / "run").write_text("#!/bin/sh\n")
            (tmp_path / name / "run").chmod(0o755 & ~mask)
            (tmp_path / name / "lib" / "a").write_text("a")
        finally:
            os.umask(before)
    os.utime(tmp_path / "two" / "run", (1, 1))
    for ending in ("tar.gz", "zip"):
        packed = [write_archive(tmp_path / name, tmp_path / f"{name}.{ending}") for name in ("one", "two")]
        assert sha256(packed[0]) == sha256(packed[1])
    with tarfile.open(tmp_path / "one.tar.gz") as archive:
        assert [(member.name, oct(member.mode)) for member in archive] == [("lib/a", "0o644"), ("run", "0o755")]


def _wheel(path: Path, contents: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A wheel that stands for the plugin: it tells how it was started."""
    main = "import os, sys\n\ndef buildkit_main():\n    import needed\n    print(needed.WHERE, *sys.argv[1:])\n    sys.exit(7)\n"
    main += "\ndef build_main():\n    print('build', *sys.argv[1:])\n    sys.exit(5)\n"
    names = {"kubectl_build/__init__.py": "", "kubectl_build/cli/__init__.py": "", "kubectl_build/cli/main.py": main}
    return _wheel(tmp_path / "plugin.whl", names)


def _bundle(target: Target, plugin: Path, folder: Path) -> Path:
    (folder / "wheels").mkdir(parents=True)
    _wheel(folder / "wheels" / "needed.whl", {"needed-1.data/platlib/needed.py": "WHERE = 'beside'", "needed-1.data/scripts/x": ""})
    write_bundle(target, folder / "wheels", plugin, folder / "plugin")
    return folder / "plugin"


def test_launcher_finds_the_plugin_through_links(plugin: Path, tmp_path: Path) -> None:
    made = _bundle(DARWIN, plugin, tmp_path / "work")
    assert {path.name for path in made.iterdir()} == {"kubectl-buildkit", "launch.py", "lib"}
    assert not (made / "lib" / "needed-1.data").exists()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3.11").symlink_to(sys.executable)
    (tmp_path / "bin" / "inner").symlink_to("../work/plugin/kubectl-buildkit")
    (tmp_path / "bin" / "kubectl-buildkit").symlink_to(tmp_path / "bin" / "inner")
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    done = subprocess.run(
        ["kubectl-buildkit", "build", "a b"], env={"PATH": path}, cwd="/", capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("beside build a b\n", "", 7)
    (tmp_path / "bin" / "kubectl-build").symlink_to("inner")
    done = subprocess.run(["kubectl-build", "x"], env={"PATH": path}, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.returncode) == ("build x\n", 5)


def test_launcher_without_python_says_what_is_missing(plugin: Path, tmp_path: Path) -> None:
    made = _bundle(DARWIN, plugin, tmp_path / "work")
    (tmp_path / "bin").mkdir()
    for name in ("dirname", "readlink"):
        (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        ["/bin/sh", made / "kubectl-buildkit"],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "error: kubectl buildkit needs Python 3.11, and there is no python3.11 on PATH"


def test_program_for_windows_is_an_executable_with_an_archive_that_python_runs(plugin: Path, tmp_path: Path) -> None:
    made = _bundle(WINDOWS, plugin, tmp_path / "work")
    data = (made / "kubectl-buildkit.exe").read_bytes()
    assert data.startswith(b"MZ")
    assert b"#!/usr/bin/env python.exe\r\n" in data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        main = archive.read("__main__.py").decode()
    (made / "started.py").write_text(main)
    done = subprocess.run([sys.executable, made / "started.py", "x"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.returncode) == ("beside x\n", 7)


def test_wheel_with_files_outside_of_itself_is_refused(plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    _wheel(tmp_path / "wheels" / "bad.whl", {"../outside": ""})
    with pytest.raises(ReleaseError, match="which is outside of it"):
        write_bundle(DARWIN, tmp_path / "wheels", plugin, tmp_path / "plugin")


def test_files_that_krew_takes_are_all_that_is_in_the_archive(plugin: Path, tmp_path: Path) -> None:
    for target in (DARWIN, WINDOWS):
        made = _bundle(target, plugin, tmp_path / target.os)
        assert {path.name for path in made.iterdir()} | {"LICENSE"} == set(files(target))
