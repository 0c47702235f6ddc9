"""The two programs that kubectl runs: what they print, and that nothing goes wrong aloud."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_RUN = "import sys; from kubectl_build.cli.complete import {0}_main; sys.argv[0] = 'kubectl_complete-{0}'; {0}_main()"


def run(plugin: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _RUN.format(plugin), *words]
    environment = {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of an API server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_candidates_are_printed_with_the_directive_at_the_end() -> None:
    done = run("build", "--progress", "r")
    assert (done.returncode, done.stdout, done.stderr) == (0, "rawjson\n:4\n", "")


def test_no_word_at_all_is_an_empty_word() -> None:
    assert run("buildkit").stdout == run("buildkit", "").stdout


@pytest.mark.parametrize("flag", ["--namespace", "--builder", "--registry-secret", "--context"])
def test_cluster_that_is_not_there_is_silence(flag: str, tmp_path: Path) -> None:
    done = run("build", flag, "", KUBECONFIG=str(tmp_path / "missing"))
    assert (done.returncode, done.stdout, done.stderr) == (0, ":4\n", "")


def test_cluster_that_does_not_answer_in_time_leaves_what_is_known_here(silent_server: str, tmp_path: Path) -> None:
    clusters = [{"name": "c", "cluster": {"server": silent_server}}]
    config = {"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c"}}], "clusters": clusters}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    done = run("build", "--platform", "linux/amd64,linux/s", KUBECONFIG=str(tmp_path / "kubeconfig"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "linux/amd64,linux/s390x\n:38\n", "")


def test_credential_plugin_that_asks_for_a_person_is_not_heard(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", "echo who are you >&2; exit 1"]}
    user = {"name": "u", "user": {"exec": {**plugin, "interactiveMode": "IfAvailable"}}}
    clusters = [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]
    contexts = [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
    config = {"current-context": "x", "contexts": contexts, "clusters": clusters, "users": [user]}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    done = run("build", "--namespace", "", KUBECONFIG=str(tmp_path / "kubeconfig"))
    assert (done.returncode, done.stdout, done.stderr) == (0, ":4\n", "")


def test_deadlines_that_are_malformed_are_silence(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(json.dumps({"clusters": [], "current-context": ""}))
    done = run("build", "--namespace", "", KUBECONFIG=str(tmp_path / "kubeconfig"), KUBECTL_BUILD_DEADLINES="x")
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_are_not_loaded_for_a_question_to_the_cluster() -> None:
    code = (
        "import sys; from kubectl_build.cli.complete import complete; complete('build', ['--builder', ''], {'KUBECONFIG': '/nonexistent'});"
        "print(*[name for name in ('typer', 'grpc', 'kubernetes', 'rich') if name in sys.modules])"
    )
    environment = {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr
