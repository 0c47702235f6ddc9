"""Loading the HTTP client without what a command never uses of it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


def load_http() -> None:
    """Load aiohttp, for this process alone to use.

    When loaded it reads the system's authorities twice, for contexts that serve requests without one of their own. Ours all have one, and
    these 150 certificates took a tenth of a small build's processor time. So a program that makes requests besides ours must not call
    this: aiohttp would trust nobody there.
    """
    with _without_authorities():
        import aiohttp  # noqa: F401


@contextmanager
def _without_authorities() -> Iterator[None]:
    def leave_empty(_: ssl.SSLContext) -> None:
        """Stand before the method of the class beneath."""

    ssl.SSLContext.set_default_verify_paths = leave_empty  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths
