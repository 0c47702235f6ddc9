"""The table, for people on the terminal and for docs/parity.md."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import layout
from tests.parity.compare import Verdict

PAGE = layout.CHECKOUT / "docs" / "parity.md"


def line(verdict: Verdict) -> str:
    """One case for the terminal."""
    mark = "equal " if verdict.equal else "DIFFER"
    theirs, ours = verdict.seconds
    head = f"{mark}  {verdict.case.name:28} {verdict.digest[:19]:19}  {theirs:5.1f} s {ours:5.1f} s  {verdict.case.shows}"
    return "\n".join([head, *("        " + part for trouble in verdict.trouble for part in trouble.splitlines())])


def page(verdicts: Sequence[Verdict]) -> str:
    """The whole of docs/parity.md."""
    equal = sum(verdict.equal for verdict in verdicts)
    rows = [_row(verdict) for verdict in verdicts]
    return f"""\
# The same digests as `docker buildx build`

Written by `make parity`, which builds each of these with `docker buildx build` and with `kubectl build`, and compares what comes out. The
builds run in the same cluster, each tool on a builder of its own, with `SOURCE_DATE_EPOCH=0` and `rewrite-timestamp=true`. Pushed
images are compared by the digest of their index or manifest, attestations without their times and ids, other outputs byte for byte.
The cases are in `tests/parity/corpus`.

- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}
- docker buildx {layout.BUILDX_VERSION}, built from its Go module, driver kubernetes: one pod on an amd64 node
- kubectl build of this checkout: a pool for amd64 and one for arm64
- the daemon of both: moby/buildkit {layout.BUILDKIT_VERSION}
- equal: {equal} of {len(verdicts)}

| case | what it shows | compared | digest | equal |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""


def write(verdicts: Sequence[Verdict], target: Path = PAGE) -> None:
    """Replace the page."""
    target.write_text(page(verdicts))


def _row(verdict: Verdict) -> str:
    case = verdict.case
    shows = case.shows.replace("|", "\\|")
    return f"| {case.name} | {shows} | {case.kind} | `{verdict.digest[7:19]}` | {'yes' if verdict.equal else '**no**'} |"
