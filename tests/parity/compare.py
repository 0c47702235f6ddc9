"""Running one case with both tools, and judging."""

from __future__ import annotations

import shutil
import urllib.error
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.kubectl import plan_lines
from tests.e2e.registry import Registry
from tests.parity import evidence
from tests.parity.case import Case, Kind
from tests.parity.evidence import Evidence
from tests.parity.rig import Done, Rig, Tool

_SHOWN = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a case. Without `trouble` the results are equal."""

    case: Case
    digest: str
    seconds: tuple[float, float] = (0.0, 0.0)
    trouble: Sequence[str] = field(default=())

    @property
    def equal(self) -> bool:
        """Whether both tools built, and built the same."""
        return not self.trouble


def compare(rig: Rig, case: Case) -> Verdict:
    """Prepare a case, build it with both tools at once, and compare."""
    _write(rig, case)
    with ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(lambda tool: _build(rig, case, tool), rig.tools)
    seconds = (theirs.seconds, ours.seconds)
    failed = [
        f"{tool.name} exited with {done.code}, not {case.code}:\n{done.why}"
        for tool, done in zip(rig.tools, (theirs, ours), strict=True)
        if done.code != case.code
    ]
    used = {pool for _, pool in plan_lines(ours.stderr).values()}
    if case.pools and used != set(case.pools):
        failed.append(f"kubectl used the pools {sorted(used)}, not {sorted(case.pools)}:\n{ours.why}")
    if failed:
        return Verdict(case=case, digest="", seconds=seconds, trouble=failed)
    try:
        one, other = (_evidence(rig, case, tool, done) for tool, done in zip(rig.tools, (theirs, ours), strict=True))
    except urllib.error.HTTPError as exc:
        exc.close()
        return Verdict(case=case, digest="", seconds=seconds, trouble=[f"nothing was pushed: {exc.url} answers {exc.code}"])
    found = evidence.differences(one, other)
    more = [f"... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return Verdict(case=case, digest=one.digest, seconds=seconds, trouble=[*found[:_SHOWN], *more])


def _write(rig: Rig, case: Case) -> None:
    site = rig.site(case)
    files: dict[str, str | bytes] = dict(case.files)
    if case.dockerfile is not None:
        files["Dockerfile"] = case.dockerfile
    # A Dockerfile may name an image or a URL that only this run knows.
    words = {name: word for name, word in rig.words(case, rig.tools[0]).items() if name in ("http", "registry")}
    for name, content in files.items():
        target = site.context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_filled(content, words).encode() if isinstance(content, str) else content)
    if case.prepare is not None:
        case.prepare(site)


def _build(rig: Rig, case: Case, tool: Tool) -> Done:
    words = rig.words(case, tool)
    out = Path(words["out"])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    env = {name: _filled(value, words) for name, value in case.env.items()}
    stdin = None if case.stdin is None else Path(_filled(case.stdin, words))
    cwd = Path(words["work"], "context")
    for before in case.before:
        done = tool.run([_filled(arg, words) for arg in before], cwd=cwd, env=env)
        if done.code:
            return done
    args = [_filled(arg, words) for arg in (*case.flags, case.context)]
    return tool.run(args, cwd=cwd, stdin=stdin, env=env)


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace("{" + name + "}", word)
    return text


def _evidence(rig: Rig, case: Case, tool: Tool, done: Done) -> Evidence:
    cluster = rig.cluster
    registry = Registry(url=f"https://{cluster.registry}", user=cluster.user, password=cluster.password, ca=cluster.ca)
    repository = rig.repository(case, tool)
    words = rig.words(case, tool)
    own = f"{cluster.registry}/{repository}"
    rest = evidence.of_output(rig.out(case, tool), done.stdout, (words["name"], own, words["out"]))
    if case.kind is Kind.PUSHED:
        return evidence.of_pushed(registry, repository, rig.run).beside(rest)
    if case.kind is Kind.ATTESTED:
        return evidence.of_attested(registry, repository, rig.run).beside(rest)
    if case.kind is Kind.TIMELESS:
        return evidence.of_timeless(registry, repository, rig.run).beside(rest)
    return rest
