"""The table, for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import kubectl_build
from benchmarks.figures import Compared
from benchmarks.rig import REQUESTS, SECURITY
from benchmarks.row import Row
from tests.cluster import layout

DOCUMENT = layout.CHECKOUT / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- benchmarks: written by `make bench` -->", "<!-- benchmarks end -->"
_COLUMNS = "| row | kubectl build | docker buildx | ratio | bar | | runs | of |\n| --- | --- | --- | --- | --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a row: the figures and the commands that gave them, or why there are none."""

    compared: Compared | None = None
    commands: Sequence[str] = ()
    trouble: str = ""

    @property
    def met(self) -> bool:
        return self.compared is not None and self.compared.met


def line(row: Row, outcome: Outcome) -> str:
    """One row for a terminal."""
    if outcome.compared is None:
        return f"FAILED  {row.name:18} {outcome.trouble.partition(chr(10))[0]}"
    found = outcome.compared
    mark = "met   " if found.met else "MISSED"
    ours, theirs = found.ours.shown(row.unit), found.theirs.shown(row.unit)
    return f"{mark}  {row.name:18} {row.sides[0]} {ours}  {row.sides[1]} {theirs}  ratio {found.ratio:.2f}, bar {row.bar:g}"


def _bar(row: Row) -> str:
    return f"{row.bar:g}" + (f", aim {row.aim:g}" if row.aim else "")


def table_row(row: Row, outcome: Outcome, of: str) -> str:
    """One row of the document. `of` says which commit was timed, and when."""
    if outcome.compared is None:
        return f"| {row.name} | | | | {_bar(row)} | **failed** | | {of} |"
    found = outcome.compared
    ours, theirs = found.ours.shown(row.unit), found.theirs.shown(row.unit)
    verdict = "met" if found.met else "**missed**"
    return f"| {row.name} | {ours} | {theirs} | {found.ratio:.2f} | {_bar(row)} | {verdict} | {found.ours.count} | {of} |"


def section(row: Row, outcome: Outcome) -> str:
    """What a row is about, and its commands."""
    lines = [f"### {row.name}", "", row.shows + (f" {row.notes}" if row.notes else "")]
    if row.sides != ("kubectl build", "docker buildx"):
        lines += ["", f"The two columns are {row.sides[0]} and {row.sides[1]}."]
    if outcome.commands:
        lines += ["", "```sh", *outcome.commands, "```"]
    elif outcome.trouble:
        lines += ["", "There are no figures: a command failed, or its result was not as it must be."]
    return "\n".join(lines) + "\n"


def versions() -> str:
    """Of this checkout, as the table shows it: the commit, and whether there are changes in the product."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=layout.CHECKOUT, capture_output=True, text=True, check=False, timeout=20)
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") or "no commit"
    return commit + (" with changes" if git("status", "--porcelain", "--", "kubectl_build") else "")


def machine(now: datetime.datetime, load: float) -> str:
    """What the newest run ran on, and with."""
    memory = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) / 1024**2
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    requests = " and ".join(f"{amount} of {name}" for name, amount in REQUESTS.items())
    return "\n".join(
        (
            f"- newest run: {now:%Y-%m-%d %H:%M} UTC, load average before it {load:.1f}",
            f"- machine: {os.cpu_count()} cores ({names[0] if names else platform.machine()}), {memory:.0f} GiB of memory, "
            f"Linux {platform.release()}; it runs the whole cluster too",
            f"- kubectl build {kubectl_build.__version__}, Python {platform.python_version()}; docker buildx {layout.BUILDX_VERSION}, "
            "built from its Go module and started without docker",
            f"- Kubernetes {layout.KUBERNETES_VERSION}; both tools' daemons are moby/buildkit {layout.BUILDKIT_VERSION}, {SECURITY}, "
            f"with requests of {requests} and no limits",
        )
    )


def page(old: str, rows: Sequence[Row], outcomes: Mapping[str, Outcome], head: str, of: str) -> str:
    """The document's text with the rows that ran put in; those that did not run stay as they were."""
    before, _, rest = old.partition(_BEGIN)
    written, _, after = rest.partition(_END)
    lines = {match[1]: match[0] for match in re.finditer(r"^\| ([a-z0-9-]+) \|.*$", written, re.MULTILINE)}
    sections = {match[1]: match[0] for match in re.finditer(r"^### (\S+)\n.*?(?=^### |\Z)", written, re.MULTILINE | re.DOTALL)}
    for row in rows:
        if row.name in outcomes:
            lines[row.name] = table_row(row, outcomes[row.name], of)
            sections[row.name] = section(row, outcomes[row.name])
    table = "\n".join(lines[row.name] for row in rows if row.name in lines)
    about = "\n\n".join(sections[row.name].strip() for row in rows if row.name in sections)
    return f"{before}{_BEGIN}\n{head}\n\n{_COLUMNS}\n{table}\n\n## The rows\n\n{about}\n\n{_END}{after}"


def write(rows: Sequence[Row], outcomes: Mapping[str, Outcome], load: float) -> None:
    """Put what came of a run into docs/benchmarks.md."""
    now = datetime.datetime.now(datetime.UTC)
    DOCUMENT.write_text(page(DOCUMENT.read_text(), rows, outcomes, machine(now, load), f"{versions()}, {now:%Y-%m-%d}"))
