"""Signals as a terminal's user has them, for whatever started the tests."""

from __future__ import annotations

import signal


def restore() -> None:
    """Take back what is ignored: SIGHUP under nohup, SIGINT in a shell's background. Commands inherit it, and tests send them both."""
    for ignorable, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(ignorable) is signal.SIG_IGN:
            signal.signal(ignorable, usual)
