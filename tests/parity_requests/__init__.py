"""Whether a daemon is told by `kubectl build` what `docker buildx build` tells it: both talk to a daemon that only records."""
