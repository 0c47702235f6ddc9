"""What holds for every test."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Nothing is timed in tests: a machine that is busy makes no property false.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For those who have time: --hypothesis-profile=long. Registered here, where it is known before the option is read.
settings.register_profile("long", settings.get_profile("untimed"), max_examples=20_000)
settings.load_profile("untimed")

# Commands inherit what is ignored: SIGHUP under nohup, SIGINT in a shell's background. Tests send both.
for _ignorable, _usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_ignorable) is signal.SIG_IGN:
        signal.signal(_ignorable, _usual)
