"""A process that builds again and again by the library, and tells what it holds after each build: memory, descriptors, tasks."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubectl_build.buildkit import open_daemon
from kubectl_build.errors import KubectlBuildError
from tests.faults.bench import Bench

_WARM = 10
"""Builds after which caches of the process are filled."""
_GROWTH_KIB = 16 * 1024
_PAUSE_S = 1.0


@dataclass
class Resident:
    """Runs the process for as long as the soak lasts, on one pod that is killed as all are."""

    bench: Bench
    builder: str
    stop: threading.Event
    samples: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> None:
        """Build until told to stop."""
        address = f"kube-pod://{self.builder}-amd64-0?namespace={self.bench.namespace.name}"
        with (
            tempfile.TemporaryDirectory(dir=self.bench.directory) as temporary,
            subprocess.Popen(
                [sys.executable, "-m", "tests.soak.resident", address, str(self.bench.tree("FROM scratch\nCOPY Dockerfile /\n"))],
                env={**self.bench.kubectl.variables, "TMPDIR": temporary},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                found = json.loads(line)
                self.samples.append({**found, "files": len(list(Path(temporary).iterdir()))})
                if self.stop.is_set():
                    process.stdin.close()
                    process.stdin = None
                    break
            assert process.wait(60) == 0, f"the process that stays ended with exit code {process.returncode}"

    @property
    def _settled(self) -> list[dict[str, Any]]:
        return self.samples[_WARM:] or self.samples

    def grew(self) -> bool:
        """Whether the process holds more at the end than it did when it was warm."""
        first, last = self._settled[0], self._settled[-1]
        return bool(
            last["rss"] - first["rss"] > _GROWTH_KIB or last["fds"] > first["fds"] or last["tasks"] > first["tasks"] or last["files"]
        )

    def rows(self) -> dict[str, str]:
        """What the process held, warm and at the end."""
        first, last = self._settled[0], self._settled[-1]
        failed = sum(not sample["ok"] for sample in self.samples)
        return {
            "builds of a process that stays": f"{len(self.samples)}, {failed} of them ended by a kill",
            "its memory, warm and at the end": f"{first['rss'] // 1024} MiB, {last['rss'] // 1024} MiB",
            "its file descriptors, warm and at the end": f"{first['fds']}, {last['fds']}",
            "its temporary files": str(last["files"]),
        }


def _held() -> dict[str, int]:
    gc.collect()  # what only waits for the collector is not kept: tens of KiB a build, and more where the connection broke
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    fds = len(os.listdir("/proc/self/fd"))
    return {"rss": pages * os.sysconf("SC_PAGE_SIZE") // 1024, "fds": fds, "tasks": len(asyncio.all_tasks())}


async def _builds(address: str, context: str) -> None:
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    while not ended.done():
        ok = True
        try:
            async with open_daemon(address) as daemon:
                await daemon.build(context)
        except KubectlBuildError:
            ok = False
        print(json.dumps({"ok": ok, **_held()}), flush=True)
        await asyncio.wait([ended], timeout=_PAUSE_S)


if __name__ == "__main__":
    asyncio.run(_builds(*sys.argv[1:]))
