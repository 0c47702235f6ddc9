"""Values of --output's keys that a daemon would refuse only when a builder has been started for them (pure).

Keys: moby/buildkit v0.31.2 exporter/containerimage/opts.go, util/compression, exporter/local. All other keys are the daemon's business.
"""

from __future__ import annotations

import re

from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.request import Output

_FLAGS = frozenset(
    {
        "attestation-inline",
        "force-compression",
        "name-canonical",
        "oci-artifact",
        "oci-mediatypes",
        "platform-split",
        "prefer-nondist-layers",
        "push",
        "push-by-digest",
        "registry.insecure",
        "rewrite-timestamp",
        "store",
        "tar",
        "unpack",
    }
)
_NUMBERS = frozenset({"compression-level", "source-date-epoch"})
_COMPRESSIONS = ("uncompressed", "gzip", "estargz", "zstd")


def check_exporter_attrs(text: str, output: Output) -> None:
    """Raise UsageError for a value that is not of its key's kind. An empty value of a flag means true, as the daemon takes it."""
    for key, value in output.attrs.items():
        if key in _FLAGS and value and parse_bool(value) is None:
            raise UsageError(f'--output "{text}": {key} is true or false, not "{value}"')
        if key in _NUMBERS and value and not re.fullmatch(r"[+-]?[0-9]+", value):
            raise UsageError(f'--output "{text}": {key} is a number, not "{value}"')
        if key == "compression" and value not in _COMPRESSIONS:
            raise UsageError(f'--output "{text}": compression "{value}" is not known', hint=f"it is one of {', '.join(_COMPRESSIONS)}")
