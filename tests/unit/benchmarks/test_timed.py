"""What is read of a command that ran."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import timed
from benchmarks.timed import Timed
from tests.cluster.say import Trouble

ROOT = Path(__file__).parents[3]


def said(stderr: str) -> Timed:
    return Timed(command=["build"], seconds=1, peak=1, stdout="", stderr=stderr)


@pytest.mark.parametrize(
    ("stderr", "count"),
    [
        ("", 0),
        ("#4 transferring context: 2B done\n", 2),
        ("#4 transferring context: 12.5kB\n#4 transferring context: 268.44MB 3.1s done\n", 268.44e6),
        ("#4 transferring context: 1.07GB 17.0s done\n", 1.07e9),
    ],
)
def test_bytes_sent_are_the_last_that_progress_tells(stderr: str, count: float) -> None:
    assert said(stderr).sent() == pytest.approx(count)


def test_result_that_is_wrong_is_trouble_with_what_was_said() -> None:
    with pytest.raises(Trouble, match=r"build: nothing came\nthe reason"):
        said("the reason").must(False, "nothing came")


_RUN = """
import os, sys
from benchmarks import timed
held = "import sys; held = bytearray(80_000_000); print(len(held)); print('x', file=sys.stderr)"
done = timed.run([sys.executable, "-c", held], os.environ)
print(repr((done.stdout, done.stderr, done.peak)))
"""


def test_run_of_a_command_has_its_words_and_its_memory() -> None:
    # From a small process, as benchmarks are run: the kernel's account of a child begins with its parent's size.
    ran = subprocess.run([sys.executable, "-c", _RUN], cwd=ROOT, capture_output=True, text=True, check=True)
    stdout, stderr, peak = ast.literal_eval(ran.stdout)

    assert (stdout, stderr) == ("80000000\n", "x\n")
    assert 80_000_000 < peak < 120_000_000


def test_run_of_a_command_that_fails_is_trouble() -> None:
    with pytest.raises(Trouble, match="exit code 3"):
        timed.run([sys.executable, "-c", "raise SystemExit(3)"], os.environ)


def test_run_together_of_which_one_fails_is_trouble_and_ends_the_others() -> None:
    sleeps = [sys.executable, "-c", "import time; time.sleep(3600)"]

    with pytest.raises(Trouble, match="exit code 3"):
        timed.together([[sys.executable, "-c", "raise SystemExit(3)"], sleeps], os.environ)
