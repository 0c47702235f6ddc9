"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests import signals

# Nothing is timed in tests: a machine that is busy makes no property false.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For those who have time: --hypothesis-profile=long. Registered here, where it is known before the option is read.
settings.register_profile("long", settings.get_profile("untimed"), max_examples=20_000)
settings.load_profile("untimed")

signals.restore()

# What is said on stdout and on stderr comes in an order for users, who have not set this.
os.environ.pop("PYTHONUNBUFFERED", None)
