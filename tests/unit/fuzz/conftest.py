"""The profile for those who have time."""

from hypothesis import settings

settings.register_profile("long", max_examples=20_000, deadline=None)
