"""The report of real builds, drawn by a real browser: several pools, an emulated platform, a failure, and from the history."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace
from tests.integration.browser import Page, open_page

BOTH = "--platform=linux/amd64,linux/arm64"
DOCKERFILE = """FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETARCH
COPY data /data
RUN echo building for $TARGETARCH '</script><b>&' && \\
    cp /data /out
FROM busybox
RUN uname -m > /arch
COPY --from=build /out /out
"""

Context = Callable[..., Path]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("context")
    (directory / "Dockerfile").write_text(DOCKERFILE)
    (directory / "data").write_bytes(bytes(range(256)) * 8000)
    return directory


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with open_page(tmp_path / "profile") as opened:
        yield opened


def data_of(file: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', file.read_text(), re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def marks(data: dict[str, Any]) -> dict[int, dict[str, Any]]:
    (source,) = data["sources"]
    assert "\n".join(source["lines"]) + "\n" == DOCKERFILE
    return {mark["first"]: mark for mark in source["marks"]}


async def test_report_of_two_pools_has_steps_lines_layers_and_masks_what_looks_secret(
    namespace: Namespace, tree: Path, tmp_path: Path, page: Page
) -> None:
    file = tmp_path / "report.html"
    name = f"{namespace.cluster.registry}/{namespace.repository()}"
    said = namespace.kubectl(
        "build", tree, BOTH, "-t", name, "--push", "--registry-secret=my-secret", "--build-arg=NPM_TOKEN=swordfish", "--report", file
    ).ok()
    assert f"wrote {file}" in said.stderr
    assert "swordfish" not in file.read_text()
    data = data_of(file)
    assert {pool["name"] for pool in data["pools"]} >= {"amd64", "arm64"}
    assert sorted(marks(data)) == [1, 3, 4, 6, 7, 8]
    assert len(marks(data)[7]["steps"]) == 2
    assert [image["platform"] for image in data["images"]] == ["linux/amd64", "linux/arm64"]
    assert all(any("COPY /out" in layer["by"] for layer in image["layers"]) for image in data["images"])
    echoed = [step for step in data["steps"] if "building for" in step["name"]]
    assert {tuple(step["log"]) for step in echoed} == {("building for amd64 </script><b>&",), ("building for arm64 </script><b>&",)}
    assert any(step.get("critical") for step in data["steps"])
    await page.show(file)
    assert "completed" in await page.ask("document.querySelector('h1').textContent")
    assert await page.ask("document.querySelectorAll('#grid .row').length") > 10
    assert page.complaints == []


async def test_report_marks_emulated_steps_and_no_others(namespace: Namespace, tree: Path, tmp_path: Path, page: Page) -> None:
    file = tmp_path / "report.html"
    namespace.kubectl("build", tree, "--platform=linux/s390x", "--report", file).ok()
    data = data_of(file)
    assert [step["name"].partition("] ")[2] for step in data["steps"] if step.get("emulated")] == ["RUN uname -m > /arch"]
    assert marks(data)[7]["emulated"]
    assert not marks(data)[4]["emulated"]
    await page.show(file)
    assert "QEMU" in await page.ask("document.querySelector('table.platforms').textContent")


async def test_report_of_a_build_that_failed_is_written_with_its_error(
    namespace: Namespace, context: Context, tmp_path: Path, page: Page
) -> None:
    file = tmp_path / "report.html"
    broken = context({"Dockerfile": "FROM busybox\nRUN echo first\nRUN echo '<i>broken' && exit 9\nRUN echo never\n"})
    namespace.kubectl("build", broken, "--platform=linux/amd64", "--report", file).failed(1, "exit code: 9")
    states = {step["name"].partition("] ")[2]: step.get("state") for step in data_of(file)["steps"]}
    assert states["RUN echo '<i>broken' && exit 9"] == "failed"
    assert "RUN echo never" not in states
    await page.show(file)
    assert "exit code: 9" in await page.ask("document.querySelector('pre.error').textContent")
    assert "failed" in await page.ask("document.querySelector('h1').textContent")
    assert page.complaints == []


async def test_report_from_the_history_tells_what_the_build_itself_told(
    namespace: Namespace, tree: Path, tmp_path: Path, page: Page
) -> None:
    live, later = tmp_path / "live.html", tmp_path / "later.html"
    namespace.kubectl(
        "build", tree, "--platform=linux/amd64", "--no-cache", "-o", f"type=oci,dest={tmp_path / 'o.tar'}", "--report", live
    ).ok()
    namespace.kubectl("buildkit", "report", "-o", later).ok()
    first, second = data_of(live), data_of(later)
    assert {step["name"] for step in second["steps"]} <= {step["name"] for step in first["steps"]}
    assert {line: mark["last"] for line, mark in marks(second).items()} == {line: mark["last"] for line, mark in marks(first).items()}
    assert second["images"] == first["images"]
    logs = [{step["name"]: step.get("log") for step in data["steps"] if "building for" in step["name"]} for data in (first, second)]
    assert logs[0] == logs[1]
    await page.show(later)
    assert page.complaints == []


def test_report_to_a_directory_that_is_not_there_is_refused_before_the_build(namespace: Namespace, tree: Path, tmp_path: Path) -> None:
    namespace.kubectl("build", tree, "--report", tmp_path / "none" / "report.html").failed(2, "--report", "cannot be written")
