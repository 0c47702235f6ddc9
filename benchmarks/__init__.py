"""Side by side with docker buildx: the same work, the same daemon, in turn. `python -m benchmarks` runs it, docs/benchmarks.md shows it."""
