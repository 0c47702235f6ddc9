"""The table, for people on the terminal and for docs/parity.md."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster import layout
from tests.parity.compare import Verdict

_SHOWN = 5
PAGE = layout.CHECKOUT / "docs" / "parity.md"


def line(verdict: Verdict) -> str:
    """One case for the terminal."""
    mark = "equal " if verdict.equal else "DIFFER"
    theirs, ours = verdict.seconds
    head = f"{mark}  {verdict.case.name:28} {verdict.digest[:19]:19}  {theirs:5.1f} s {ours:5.1f} s  {verdict.case.shows}"
    return "\n".join([head, *("        " + part for trouble in verdict.trouble for part in trouble.splitlines())])


def page(verdicts: Sequence[Verdict], flags: Mapping[str, Sequence[str]]) -> str:
    """The whole of docs/parity.md."""
    equal = sum(verdict.equal for verdict in verdicts)
    rows = [_row(verdict) for verdict in verdicts]
    having = [f"| `{flag}` | {_few(cases)} |" for flag, cases in flags.items()]
    return f"""\
# The same digests as `docker buildx build`

Written by `make parity`, which builds each of these with `docker buildx build` and with `kubectl build`, and compares what comes out. The
builds run in the same cluster at the same time, each tool on a builder of its own, with `SOURCE_DATE_EPOCH=0` and `rewrite-timestamp=true`.
The cases are in `tests/parity/corpus`.

What is compared, besides files that were written on the client's side and what was printed on stdout:

- pushed: the digest of the manifest or index in the registry, and so every byte of the image
- attested: images as above; attestations by what they say, without times, ids of the build and of the session, and the image's name
- timeless: every file and field. BuildKit writes creation times into Windows layers and inline cache that no epoch rewrites, so that
  two builds by `docker buildx build` alone differ too
- output: nothing was pushed

- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}
- docker buildx {layout.BUILDX_VERSION}, built from its Go module, driver kubernetes: one pod on an amd64 node
- kubectl build of this checkout: a pool for amd64 and one for arm64
- the daemon of both: moby/buildkit {layout.BUILDKIT_VERSION}
- equal: {equal} of {len(verdicts)}

| case | what it shows | compared | digest | equal |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

## Flags

Each flag of `docker buildx build --help` but `--load` and `--policy`, and cases that have it.

| flag | cases |
| --- | --- |
{chr(10).join(having)}
"""


def write(verdicts: Sequence[Verdict], flags: Mapping[str, Sequence[str]], target: Path = PAGE) -> None:
    """Replace the page."""
    target.write_text(page(verdicts, flags))


def _row(verdict: Verdict) -> str:
    case = verdict.case
    shows = case.shows.replace("|", "\\|")
    return f"| {case.name} | {shows} | {case.kind} | `{verdict.digest[7:19]}` | {'yes' if verdict.equal else '**no**'} |"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
