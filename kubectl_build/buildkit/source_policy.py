"""BuildKit's source policy, read from its JSON (pure). Rules: moby/buildkit v0.31.2 sourcepolicy/pb."""

from __future__ import annotations

from kubectl_build.errors import ConfigError
from kubectl_build.proto import sourcepolicy_pb2


def parse_source_policy(text: str) -> sourcepolicy_pb2.Policy | None:
    """Read a policy; None for "". Raises ConfigError, for an unknown name or action too: a rule that is not understood must not pass."""
    if not text:
        return None
    from google.protobuf import json_format  # few builds have a policy

    try:
        return json_format.Parse(text, sourcepolicy_pb2.Policy())
    except json_format.ParseError as error:
        raise ConfigError(f"the source policy is not one of BuildKit's: {error}") from error
