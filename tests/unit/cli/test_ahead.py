"""The process that looks for a large context's key. It is forked where there are no threads, so each test has an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubectl_build.session.shared_key import session_shared_key

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked elsewhere")

LARGE = 2100
PRELUDE = """
import asyncio, os, signal, sys, threading
from pathlib import Path
from kubectl_build.cli.ahead import key_ahead

def children():
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()

tree = Path(sys.argv[1])
"""


def _tree(root: Path, files: int, *, size: int = 0, time_ns: int | None = None) -> Path:
    for number in range(files):
        path = root / f"d{number % 20}" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, size)
        when = 1_700_000_000_000_000_000 + number if time_ns is None else time_ns
        os.utime(path, ns=(when, when))
    return root


def _runs(pid: int) -> bool:
    """Whether the process has not ended; who ended may still wait for somebody to ask how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def _run(script: str, tree: Path) -> str:
    done = subprocess.run([sys.executable, "-c", PRELUDE + script, str(tree)], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_key_of_a_large_tree_comes_from_a_process_that_is_gone_afterwards(tmp_path: Path) -> None:
    script = """
with key_ahead(tree, {}) as key:
    print(len(children()), asyncio.run(key()))
print(len(children()))
"""
    assert _run(script, _tree(tmp_path, LARGE)) == f"1 {session_shared_key(tmp_path, {})}\n0"


def test_key_that_nobody_waits_for_leaves_no_process(tmp_path: Path) -> None:
    script = """
with key_ahead(tree, {}) as key:
    assert key
print(len(children()))
"""
    assert _run(script, _tree(tmp_path, LARGE)) == "0"


def test_key_whose_process_is_killed_is_found_without_it(tmp_path: Path) -> None:
    script = """
with key_ahead(tree, {}) as key:
    os.kill(int(children()[0]), signal.SIGKILL)
    print(asyncio.run(key()))
"""
    slow = _tree(tmp_path, LARGE)
    assert _run(script, slow) == session_shared_key(slow, {})


@pytest.mark.parametrize(
    "script",
    [
        "with key_ahead(tree / 'd1', {}) as key: print(key, children())",
        "with key_ahead(None, {}) as key: print(key, children())",
        "with key_ahead(tree / 'missing', {}) as key: print(key, children())",
        "threading.Thread(target=input, daemon=True).start()\nwith key_ahead(tree, {}) as key: print(key, children()); os._exit(os.EX_OK)",
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))\nwith key_ahead(tree, {}) as key: print(key, children())",
    ],
    ids=["small", "none", "missing", "threads", "no more files"],
)
def test_key_is_left_to_the_build_where_no_process_pays_or_may_be(tmp_path: Path, script: str) -> None:
    child = ["-c", PRELUDE + "sys.stdout.reconfigure(line_buffering=True)\n" + script, str(_tree(tmp_path, LARGE))]
    done = subprocess.Popen([sys.executable, *child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert done.stdout is not None
    with done:
        assert done.stdout.readline() == "None []\n"


def test_process_ends_soon_after_its_killed_parent(tmp_path: Path) -> None:
    script = """
with key_ahead(tree, {}) as key:
    print(children()[0], flush=True)
    signal.pause()
"""
    endless = _tree(tmp_path, LARGE, size=1 << 33, time_ns=0)  # holes, but they are all read: their times tell nothing
    parent = subprocess.Popen([sys.executable, "-c", PRELUDE + script, str(endless)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    until = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < until, "the process goes on without its parent"
        time.sleep(0.05)
