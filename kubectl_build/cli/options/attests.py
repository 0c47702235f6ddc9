"""--attest, --provenance and --sbom. Rules: docker/buildx util/buildflags/attests.go (pure).

Unlike buildx, which adds a minimal provenance by itself, attestations are off unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubectl_build.cli.options.fields import parse_fields, write_fields
from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool

_TYPES = ("sbom", "provenance")
_MODES = ("min", "max", "full")


def parse_attests(attests: Iterable[str], provenance: str = "", sbom: str = "") -> dict[str, str]:
    """Return for each attestation that is wanted its options as BuildKit takes them. Of one type the first counts, --attest before others.

    Raises UsageError.
    """
    texts = [("--attest", text) for text in attests]
    texts += [(f"--{kind}", _long_form(kind, text)) for kind, text in (("provenance", provenance), ("sbom", sbom)) if text]
    found: dict[str, str | None] = {}
    for flag, text in texts:
        kind, options = _parse(flag, text)
        found.setdefault(kind, options)
    return {kind: options for kind, options in found.items() if options is not None}


def _long_form(kind: str, text: str) -> str:
    wanted = parse_bool(text)
    return f"type={kind},{text}" if wanted is None else f"type={kind},disabled={'false' if wanted else 'true'}"


def _parse(flag: str, text: str) -> tuple[str, str | None]:
    kind, disabled, attrs = "", False, dict[str, str]()
    for item in parse_fields(flag, text):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f'{flag}: invalid value "{item}", it is not of the form key=value')
        match key.strip().lower():
            case "type":
                kind = value
            case "disabled":
                said = parse_bool(value)
                if said is None:
                    raise UsageError(f'{flag}: invalid value "{item}", disabled is true or false')
                disabled = said
            case _:
                attrs[key] = value
    if not kind:
        raise UsageError(f'{flag} "{text}": attestation type not specified', hint="write --attest type=sbom or type=provenance")
    if kind not in _TYPES:
        raise UsageError(f'{flag} "{text}": attestation type "{kind}" is not known', hint=f"types are {', '.join(_TYPES)}")
    if kind == "provenance" and attrs.get("mode", "min") not in _MODES:
        raise UsageError(f'{flag} "{text}": mode "{attrs["mode"]}" of provenance is not known', hint=f"it is {' or '.join(_MODES)}")
    return kind, None if disabled else write_fields([("type", kind), *sorted(attrs.items())])
