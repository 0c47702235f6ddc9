"""Every parser of what others wrote, given anything: only documented errors, in bounded time.

Seeded, so that a run is like the one before. For longer: pytest tests/unit/fuzz --hypothesis-profile=long
"""
