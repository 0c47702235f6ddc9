"""A report as one HTML file that needs nothing else: style, script and data stand in it, and its policy lets it load nothing.

Everything that a build says is escaped: as text where Python writes it, and in the data so that no string of it can end the script element
that holds it; the script itself only ever sets text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template

from kubectl_build import __version__
from kubectl_build.model.json import JsonObject
from kubectl_build.progress.escape import clean_line
from kubectl_build.report.advice import Code, advice
from kubectl_build.report.document import report_document
from kubectl_build.report.facts import BuildFacts, Heading, PlatformFacts
from kubectl_build.report.words import bytes_text, seconds_text, short_name

_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}

_SMALL = 1000
"""Bytes below which what was sent is of no interest: a .dockerignore that is not there has two."""

_UNBROKEN = 34
"""Letters of code in a sentence that fit into one line of any window."""


def render_page(heading: Heading, facts: BuildFacts) -> bytes:
    """The page in UTF-8."""
    style, script = _asset("page.css"), _asset("page.js")
    page = Template(_asset("page.html")).substitute(
        policy=escape(_policy(style, script)),
        style=style,
        script=script,
        data=data_text(report_document(facts)),
        title=_text(heading.title),
        heading=_text(heading.title).replace("/", "/<wbr>"),
        status=_text(heading.status),
        status_class=escape(heading.status if heading.status.isalpha() else "unknown"),
        subtitle=_subtitle(facts),
        error=f'<pre class="error" role="alert">{escape(heading.error)}</pre>' if heading.error else "",
        cards=_cards(facts),
        advice=_advice(facts),
        platforms=_platforms(facts),
        critical=_critical(facts),
        transfers=_transfers(facts),
        notes=_notes(facts.notes),
        command=escape(shlex.join(heading.command)) if heading.command else "not known: the daemon does not keep it",
        facts=_facts(heading.facts, facts),
        version=escape(__version__),
    )
    return page.encode("utf-8", "replace")


def data_text(document: JsonObject) -> str:
    """JSON that may stand in a script element."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def _policy(style: str, script: str) -> str:
    hashes = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for name, text in (("style", style), ("script", script))
    }
    return (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return (files("kubectl_build.report") / name).read_text(encoding="utf-8")


def _text(text: str) -> str:
    return escape(clean_line(text))


def _subtitle(facts: BuildFacts) -> str:
    began = datetime.fromtimestamp(facts.began, UTC)
    pods = ", ".join(f"<span>{_text(pod)}</span>" for pod in dict.fromkeys(pool.pod for pool in facts.pools) if pod)
    shown = f'<time datetime="{began.isoformat(timespec="seconds")}">{began:%d %B %Y, %H:%M:%S} UTC</time>'
    return f"{shown} &middot; {pods}" if pods else shown


def _cards(facts: BuildFacts) -> str:
    own = [step for step in facts.steps if step.counts]
    cached = sum(step.cached for step in own)
    sent = [transfer for transfer in facts.transfers if transfer.what == "context"]
    size, seconds = sum(t.size for t in sent), sum(t.seconds for t in sent)
    emulated = [step for step in facts.steps if step.emulated]
    cards = [
        ("Duration", seconds_text(facts.ended - facts.began), f"{len(facts.steps)} steps in all"),
        ("Cache hits", f"{cached} of {len(own)}", f"{100 * cached // len(own)} % of the Dockerfile's steps" if own else "no steps"),
        ("Context sent", bytes_text(size) if sent else "nothing", f"{bytes_text(size / seconds)}/s" if seconds else "no change"),
    ]
    sizes = [sum(layer.size for layer in platform.layers) for platform in facts.platforms if platform.layers]
    cards.append(("Image size", bytes_text(sum(sizes)) if sizes else "unknown", _sizes_text(len(sizes))))
    if emulated:
        count = "1 step" if len(emulated) == 1 else f"{len(emulated)} steps"
        cards.append(("Emulated", seconds_text(sum(step.seconds for step in emulated)), f"{count} under QEMU"))
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>" for name, value, more in cards
    )


def _sizes_text(count: int) -> str:
    return "no image was made" if not count else "compressed, as pushed" if count == 1 else f"of {count} platforms, compressed"


def _advice(facts: BuildFacts) -> str:
    sentences = list(advice(facts))
    if not sentences:
        return ""
    items = "".join(f"<li>{''.join(map(_words, sentence))}</li>" for sentence in sentences)
    return f'<section class="advice" aria-labelledby="h-advice"><h2 id="h-advice">What to look at</h2><ul>{items}</ul></section>'


def _words(part: str) -> str:
    if not isinstance(part, Code):
        return _text(part)
    kind = ' class="unbroken"' if len(part) < _UNBROKEN else ""
    return f"<code{kind}>{_text(short_name(part))}</code>"


def _platforms(facts: BuildFacts) -> str:
    pods = {pool.pool: pool for pool in facts.pools if pool.pod}

    def row(platform: PlatformFacts) -> Iterable[str]:
        pool = pods.get(platform.pool)
        steps = [step for step in facts.steps if platform.platform in step.platforms]
        seconds = sum(step.seconds for step in steps)
        size = "unknown" if platform.layers is None else bytes_text(sum(layer.size for layer in platform.layers))
        yield f'<th scope="row">{_text(platform.platform)}</th>'
        yield f'<td><span class="mode {escape(platform.mode.lower())}">{_text(platform.mode) or "&ndash;"}</span></td>'
        yield f"<td>{_text(pool.pod if pool else platform.pool)}</td><td>{_text(pool.node) if pool else ''}</td>"
        yield f'<td class="number">{seconds_text(seconds)}</td><td class="number">{size}</td><td class="why">{_text(platform.why)}</td>'

    rows = "".join(f"<tr>{''.join(row(platform))}</tr>" for platform in facts.platforms)
    return rows or '<tr><td colspan="7">The build ended before it had a platform.</td></tr>'


def _critical(facts: BuildFacts) -> str:
    """The steps of the critical path, as a table: the longest have a share of the whole."""
    whole = max(facts.ended - facts.began, 1e-9)
    numbers = {step.key: number for number, step in enumerate(facts.steps)}
    rows = []
    for number in (numbers[key] for key in facts.critical):
        step = facts.steps[number]
        share = 100 * step.seconds / whole
        if share >= 1:
            meter = f'<meter min="0" max="100" value="{share:.1f}">{share:.0f} %</meter>'
            name = f'<td class="step" data-step="{number}">{_text(short_name(step.name))}</td>'
            rows.append(
                f'<tr>{name}<td class="number">{seconds_text(step.seconds)}</td><td class="number">{share:.0f} %</td><td>{meter}</td></tr>'
            )
    return "".join(rows) or '<tr><td colspan="4">No step took a noticeable part of the time.</td></tr>'


def _transfers(facts: BuildFacts) -> str:
    names = {pool.label: pool.pool for pool in facts.pools}
    rows = []
    for transfer in facts.transfers:
        if transfer.size < _SMALL and transfer.what != "context":
            continue
        rate = f"{bytes_text(transfer.size / transfer.seconds)}/s" if transfer.seconds > 0.001 else "&ndash;"
        cells = "".join(f'<td class="number">{text}</td>' for text in (bytes_text(transfer.size), seconds_text(transfer.seconds), rate))
        rows.append(f'<tr><td class="step">{_text(short_name(transfer.what))}</td><td>{_text(names[transfer.pool])}</td>{cells}</tr>')
    return "".join(rows) or '<tr><td colspan="5">Nothing was sent.</td></tr>'


def _notes(notes: Iterable[str]) -> str:
    text = "\n".join(notes)
    return f'<pre tabindex="0">{escape(text)}</pre>' if text else "<p>None.</p>"


def _facts(said: Mapping[str, str], facts: BuildFacts) -> str:
    daemons = {pool.pod: pool.version for pool in facts.pools if pool.version}
    found = {**said, "kubectl-build": __version__, **{f"BuildKit on {pod}": version for pod, version in daemons.items()}}
    return "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in found.items() if value)
