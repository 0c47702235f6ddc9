"""What this client does in registries, shown among the steps of a build."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from kubectl_build.model.digest import sha256_digest
from kubectl_build.model.events import Sink, StatusUpdate, Vertex


@contextmanager
def shown_step(name: str, what: bytes, emit: Sink) -> Iterator[str]:
    """Show the body as the step `name`, which ends with it; what it raises is the step's error.

    Yields the step's id, a digest of `what`: steps that run beside each other have to differ in it.
    """
    step = Vertex(digest=sha256_digest(what), name=name, started=time.time())
    emit(StatusUpdate(vertexes=(step,)))
    error = ""
    try:
        yield step.digest
    except BaseException as failure:
        error = str(failure) or type(failure).__name__
        raise
    finally:
        done = Vertex(digest=step.digest, name=step.name, started=step.started, completed=time.time(), error=error)
        emit(StatusUpdate(vertexes=(done,)))
