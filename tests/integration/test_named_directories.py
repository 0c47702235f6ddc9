"""A named context that is a directory is compared with what the daemon has kept of the same one, and of no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubectl_build.buildkit.daemon import open_daemon
from kubectl_build.model.request import Output, OutputType

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


async def test_named_directory_whose_times_tell_nothing_is_sent_again_when_it_has_changed(buildkitd: Path, tmp_path: Path) -> None:
    context, data, result = tmp_path / "context", tmp_path / "data", tmp_path / "result"
    context.mkdir()
    data.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY --from=data file /\n")
    found = []
    async with open_daemon(f"unix://{buildkitd}") as daemon:
        for text in ("one", "two"):
            (data / "file").write_text(text)
            os.utime(data / "file", (0, 0))
            await daemon.build(context, named_contexts={"data": data}, outputs=[Output(type=OutputType.LOCAL, dest=str(result))])
            found.append((result / "file").read_text())

    assert found == ["one", "two"]
