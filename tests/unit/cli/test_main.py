"""From argv to an exit code: usage errors told in one sentence, before any cluster is asked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kubectl_build.cli.build import app as build_app
from kubectl_build.cli.buildkit import app as buildkit_app
from kubectl_build.cli.main import run_app, run_async
from kubectl_build.errors import KubectlBuildError, RegistryError, ungrouped


def test_flags_stand_before_and_after_the_path(context: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = run_app(build_app, "kubectl build", ["--push", "--platform=linux/amd64", str(context)])
    after = run_app(build_app, "kubectl build", [str(context), "--platform", "linux/amd64", "--push"])

    assert before == after == 2
    assert capsys.readouterr().err.count("tag is needed when pushing to registry") == 2


@pytest.mark.parametrize("args", [["--help"], ["build", "-h"], ["create", "--help"], ["ls", "-h"], ["rm", "-h"], ["inspect", "-h"]])
def test_help_is_on_stdout_with_exit_code_0(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(buildkit_app, "kubectl buildkit", args) == 0
    assert "Usage: kubectl buildkit" in capsys.readouterr().out


def test_old_image_id_is_removed_before_the_build(context: Path) -> None:
    iid = context / "iid"
    iid.write_text("sha256:old")

    run_app(build_app, "kubectl build", [str(context), "--iidfile", str(iid), "--kubeconfig", str(context / "no-kubeconfig")])

    assert not iid.exists()


@pytest.mark.parametrize(
    ("app", "argv", "code"),
    [
        ("build", ["--help"], 0),
        ("build", [".", "--no-such-flag"], 2),
        ("build", [".", "--platform", "linux/nothing/of/this"], 2),
        ("build", [".", "--output", "type=docker"], 2),
        ("buildkit", ["--help"], 0),
        ("buildkit", ["build", "--help"], 0),
        ("buildkit", ["create", "--help"], 0),
        ("buildkit", ["ls", "--no-such-flag"], 2),
    ],
)
def test_command_line_imports_nothing_heavy_for_help_and_mistakes(app: str, argv: list[str], code: int) -> None:
    heavy = {"grpc", "google.protobuf", "aiohttp", "asyncio", "kubernetes", "pydantic", "rich", "h2", "yaml"}
    script = textwrap.dedent(f"""
        import sys
        from kubectl_build.cli.main import run_app
        from kubectl_build.cli.{app} import app
        code = run_app(app, "kubectl {app}", {argv!r})
        print(code, *sys.modules)
    """)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    last = run.stdout.splitlines()[-1].split()

    assert int(last[0]) == code, run.stderr
    assert heavy & set(last[1:]) == set()


_MAIN = "import sys; from kubectl_build.cli.main import build_main; build_main()"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_stdout_that_is_full_is_told_without_a_traceback() -> None:
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-c", _MAIN, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)

    assert (run.returncode, run.stderr) == (2, "error: stdout cannot be written: no space left on device\n")


def test_stdout_that_nobody_reads_any_more_is_left_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        run = subprocess.run([sys.executable, "-c", _MAIN, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=30)
    finally:
        os.close(writing)

    assert (run.returncode, run.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_defect(context: Path, closed: str) -> None:
    command = f'exec "$@" {closed}'
    args = [sys.executable, "-c", _MAIN, str(context), "-o", "-", "--kubeconfig", str(context / "no-kubeconfig")]
    run = subprocess.run(["sh", "-c", command, "sh", *args], capture_output=True, text=True, timeout=30, check=False)

    assert run.returncode == 3
    assert "Traceback" not in run.stderr


def test_first_signal_cancels_and_waits_for_the_clean_up() -> None:
    cleaned: list[str] = []

    async def work() -> int:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("yes")
        return 0

    assert run_async(work) == 143
    assert cleaned == ["yes"]


def test_second_signal_cuts_the_clean_up_short_but_lets_files_be_removed() -> None:
    removed: list[str] = []

    async def work() -> int:
        loop = asyncio.get_running_loop()
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        try:
            try:
                await asyncio.Event().wait()
            finally:
                loop.call_soon(signal.raise_signal, signal.SIGTERM)
                await asyncio.Event().wait()
        finally:
            removed.append("socket")
        return 0

    assert run_async(work) == 130
    assert removed == ["socket"]


def test_error_that_follows_a_signal_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> int:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RegistryError("lost while cleaning up") from None
        return 0

    assert run_async(work) == 143
    assert "lost" not in capsys.readouterr().err


def test_hang_up_that_the_caller_ignores_stays_ignored() -> None:
    async def work() -> int:
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
        return 7

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_async(work) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


def test_switch_that_is_said_to_be_false_is_as_if_it_were_not_there(context: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_app(build_app, "kubectl build", [str(context), "--push=false", "--load=0", "--kubeconfig", str(context / "none")])

    assert "kubeconfig" in capsys.readouterr().err


def test_error_of_a_group_is_told_rather_than_the_lost_connection_beside_it() -> None:
    from kubectl_build.errors import ConnectionLost

    with pytest.raises(RegistryError), ungrouped():
        raise ExceptionGroup("several", [ConnectionLost("gone"), ExceptionGroup("inner", [RegistryError("refused")])])


def test_error_out_of_a_group_keeps_its_own_cause() -> None:
    cause = ValueError("the right that was missing")
    error = KubectlBuildError("told")
    error.__cause__ = cause
    with pytest.raises(KubectlBuildError) as caught, ungrouped():
        raise ExceptionGroup("of tasks", [error])

    assert caught.value.__cause__ is cause


def test_every_error_class_has_a_documented_exit_code() -> None:
    def classes(root: type[KubectlBuildError]) -> list[type[KubectlBuildError]]:
        return [root, *(found for child in root.__subclasses__() for found in classes(child))]

    assert {cls.exit_code for cls in classes(KubectlBuildError)} == {1, 2, 3, 4, 5, 6, 124}
