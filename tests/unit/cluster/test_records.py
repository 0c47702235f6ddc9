"""What `up` and `down` remember: processes by pid and start time, the journal, the cache's items, the locks."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cluster import cache, cgroups, layout, owner, processes
from tests.cluster.made import Entry, Journal
from tests.cluster.processes import Process, Record
from tests.cluster.say import Trouble


@pytest.fixture
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Process records and cgroup of a machine that has no cluster."""
    (tmp_path / cgroups.DAEMONS).mkdir(parents=True)
    monkeypatch.setattr(processes, "RECORDS", tmp_path / "processes")
    monkeypatch.setattr(cgroups, "tracking", lambda _: tmp_path)
    return tmp_path


def test_start_time_name_with_spaces_and_parentheses_is_skipped() -> None:
    fields = " ".join(str(number) for number in range(1, 40))
    assert processes.parse_start_time(f"42 (a (b) c) S {fields}") == 19


def test_start_time_zombie_is_not_running() -> None:
    fields = " ".join(str(number) for number in range(1, 40))
    assert processes.parse_start_time(f"42 (sh) Z {fields}") is None


def test_record_same_pid_other_start_is_not_alive() -> None:
    mine = processes.start_time(os.getpid())
    assert mine is not None
    assert Record("me", os.getpid(), mine, "").alive()
    assert not Record("me", os.getpid(), mine - 1, "").alive()


def test_start_running_and_unchanged_is_left_alone_and_changed_is_restarted(run_directory: Path) -> None:
    config = run_directory / "config"
    config.write_text("one")
    sleeper = Process(name="sleeper", argv=("/bin/sleep", "1000"), files=(config,))
    assert processes.start(sleeper, run_directory)
    first = processes.record_of("sleeper")
    assert first is not None
    try:
        assert os.getsid(first.pid) == first.pid
        assert not processes.start(sleeper, run_directory)
        config.write_text("two")
        assert not processes.up_to_date(sleeper)
        assert processes.start(sleeper, run_directory)
        assert not first.alive()
    finally:
        for record in processes.records():
            processes.stop(record)
    assert processes.records() == []


def test_start_died_is_started_again(run_directory: Path) -> None:
    sleeper = Process(name="sleeper", argv=("/bin/sleep", "1000"))
    processes.start(sleeper, run_directory)
    first = processes.record_of("sleeper")
    assert first is not None
    os.kill(first.pid, 9)
    os.waitpid(first.pid, 0)
    assert not first.alive()
    assert processes.start(sleeper, run_directory)
    second = processes.record_of("sleeper")
    assert second is not None
    assert second.alive()
    processes.stop(second)


def test_journal_second_entry_of_a_thing_keeps_what_stood_there_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "made")
    journal.add(Entry("sysctl", "net.ipv4.ip_forward", "0"))
    journal.add(Entry("sysctl", "net.ipv4.ip_forward", "1"))
    assert journal.entries() == [Entry("sysctl", "net.ipv4.ip_forward", "0")]


def test_journal_line_cut_off_by_a_crash_is_ignored_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "made"
    journal = Journal(path)
    journal.add(Entry("link", "kbc0"))
    with path.open("a") as file:
        file.write('{"kind": "mou')
    journal.add(Entry("mount", "/run/x"))
    assert journal.entries() == [Entry("link", "kbc0"), Entry("mount", "/run/x")]


def test_journal_keeping_nothing_removes_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "made")
    journal.add(Entry("link", "kbc0"))
    journal.keep([])
    assert not (tmp_path / "made").exists()


def test_cache_interrupted_item_is_made_again_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_CLUSTER_CACHE", str(tmp_path))

    def interrupted(directory: Path) -> None:
        (directory / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.ensure("bin", "tool-1", interrupted)
    assert list((tmp_path / "bin").iterdir()) == []
    made = cache.ensure("bin", "tool-1", lambda directory: (directory / "tool").touch())
    assert [file.name for file in made.iterdir()] == ["tool"]
    assert cache.ensure("bin", "tool-1", interrupted) == made


def test_cache_key_moving_a_byte_between_parts_changes_it() -> None:
    assert cache.key(["ab", "c"]) != cache.key(["a", "bc"])


def _hold(ready: multiprocessing.synchronize.Event) -> None:
    with owner.tests_lock(timeout_s=5):
        ready.set()
        threading.Event().wait(60)


def test_no_tests_while_a_process_holds_the_lock_waits_and_names_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layout, "TESTS_LOCK_FILE", tmp_path / "lock.tests")
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(ready,))
    holder.start()
    try:
        assert ready.wait(20)
        with pytest.raises(Trouble, match="tests use the cluster"), owner.no_tests(timeout_s=0):
            pass
        assert f"pid {holder.pid}" in capsys.readouterr().err
    finally:
        holder.kill()
        holder.join()
    with owner.no_tests(timeout_s=5):
        pass


def test_lock_file_removed_while_waiting_is_not_taken_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock.tests"
    monkeypatch.setattr(layout, "TESTS_LOCK_FILE", path)
    got = threading.Event()
    release = threading.Event()

    def wait_for_it() -> None:
        with owner.tests_lock(timeout_s=20):
            got.set()
            release.wait(20)

    with owner.no_tests(timeout_s=5):
        waiter = threading.Thread(target=wait_for_it)
        waiter.start()
        path.unlink()
    assert got.wait(20)
    with pytest.raises(Trouble), owner.no_tests(timeout_s=0):
        pass
    release.set()
    waiter.join()


def test_main_without_a_command_names_them() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.cluster"], capture_output=True, text=True, check=False, cwd=layout.CHECKOUT)
    assert done.returncode == 2
    assert "COMMAND" in done.stderr
