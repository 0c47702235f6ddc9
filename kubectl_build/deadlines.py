"""How long this program waits for each kind of thing: every limit in one place, with its name and meaning.

The environment variable KUBECTL_BUILD_DEADLINES overrides them by name: "ready=20m,connect=30s". docs/deadlines.md lists them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import field, fields, replace
from functools import lru_cache

from kubectl_build.errors import UsageError
from kubectl_build.values import dataclass

VARIABLE = "KUBECTL_BUILD_DEADLINES"

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)"


def _limit(seconds: float, meaning: str) -> float:
    found: float = field(default=seconds, metadata={"meaning": meaning})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The limits, in seconds. Their names are those of the environment variable."""

    ready: float = _limit(300, "a builder's pods become ready, or are gone; long enough for a cluster that has to add a node first")
    connect: float = _limit(10, "a TCP connection is made, with its TLS handshake")
    read: float = _limit(15, "the API server answers a question, or begins to; --request-timeout goes over it")
    request: float = _limit(65, "the API server carries out a change, its webhooks included; --request-timeout goes over it")
    answer: float = _limit(15, "a daemon gives its first answer on a new connection")
    call: float = _limit(15, "a daemon answers a short question")
    content: float = _limit(30, "a daemon hands over a manifest or a frontend's result")
    health: float = _limit(12, "a daemon that builds asks for this client's health, every 5 s (it waits 15 s for the answer itself)")
    transfer: float = _limit(60, "a stream of data moves by at least one piece")
    reconnect: float = _limit(30, "a builder that was lost during a build can be reached again")
    settle: float = _limit(10, "a build that was cancelled has stopped in the builder")
    lease: float = _limit(5, "the Lease of a build that has ended is deleted")
    cleanup: float = _limit(10, "what a failed command has made in the cluster is removed")
    others: float = _limit(5, "another client takes away what it has made and cannot start")
    reason: float = _limit(3, "the API server tells why a pod's connection broke")
    release: float = _limit(2, "a pod whose builds have ended is given back to the autoscalers")
    registry: float = _limit(10, "a registry answers a request for a manifest or a token")
    command: float = _limit(10, "a short command in a builder's pod ends")
    usage: float = _limit(30, "a daemon lists its cache: sizes that it does not know it sums up first")
    prune: float = _limit(600, "a daemon deletes from its cache what a prune asks for")
    examine: float = _limit(30, "a check of doctor ends; the others go on without it")
    load: float = _limit(5, "a pod says how many builds it runs, before another pod is taken")
    login: float = _limit(300, "a kubeconfig's credential plugin ends: a person may have to log in")
    helper: float = _limit(30, "a docker credential helper, or the pipe that a secret is read from, ends")
    agent: float = _limit(120, "an ssh agent answers: a person may have to agree")
    program: float = _limit(10, "a program on this machine (git, ssh-add, ssh-agent) ends")
    lock: float = _limit(30, "another program lets go of a layout directory")
    completion: float = _limit(0.25, "the cluster names what a shell may complete; without that the shell gets what is known here")


def deadlines() -> Deadlines:
    """The limits that hold in this process. Raises UsageError for a malformed KUBECTL_BUILD_DEADLINES."""
    return _parsed(os.environ.get(VARIABLE, ""))


def parse_deadlines(text: str) -> Deadlines:
    """The limits with those that `text` names replaced. Raises UsageError."""
    names = [item.name for item in fields(Deadlines)]
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f'{VARIABLE} has "{part}", which is not NAME=TIME', hint="write it like ready=20m,connect=30s")
        if name not in names:
            raise UsageError(f'{VARIABLE} names "{name}", and there is no such deadline', hint=f"names are {', '.join(names)}")
        found[name] = parse_duration(value, f"{name} of {VARIABLE}")
    return replace(Deadlines(), **found)


def meanings() -> Mapping[str, tuple[float, str]]:
    """Each limit's default and what has to happen within it, by name."""
    return {item.name: (float(item.default), item.metadata["meaning"]) for item in fields(Deadlines)}  # type: ignore[arg-type]


def parse_duration(text: str, what: str) -> float:
    """Seconds of a time that is longer than nothing: a bare number, or Go's notation (1m30s). `what` names it in the UsageError."""
    seconds = -1.0
    if text.isascii() and text.isdigit():
        seconds = float(text)
    elif re.fullmatch(f"(?:{_PART})+", text, re.ASCII):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))
    if seconds <= 0:
        raise UsageError(f'{what} "{text}" is not a time', hint="write it like 30s, 2m or 1m30s")
    return seconds


_parsed = lru_cache(maxsize=8)(parse_deadlines)
