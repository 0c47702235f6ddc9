"""Image references, parsed and normalized as distribution/reference does (v0.6.0, reference.go, normalize.go, regexp.go).

tests/unit/model/test_reference_oracle.py compares this module with that library over a table and generated input.
"""

from __future__ import annotations

import re

from kubectl_build.errors import UsageError
from kubectl_build.values import dataclass

_DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_COMPONENT}(?:\.{_DOMAIN_COMPONENT})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_PATH = rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"((?:{_DOMAIN}/)?{_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII)
_HOST = re.compile(_DOMAIN, re.ASCII)
_IMAGE_ID = re.compile(r"[a-f0-9]{64}")
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_MAX_PATH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A complete image name. `domain` is host or host:port ("docker.io" for Docker Hub), `path` the repository without it."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Domain and path, for example docker.io/library/busybox."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        text = self.repository
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text


def parse_reference(text: str, *, default_tag: str = "latest") -> Reference:
    """Parse a name as docker does: no host means docker.io, one component there means library/, no tag and no digest means `default_tag`.

    Raises UsageError that quotes `text`.
    """
    if _IMAGE_ID.fullmatch(text):
        raise _bad(text, "64 hexadecimal digits are an image ID, not a name")
    domain, remainder = _split_domain(text)
    repository = remainder.partition(":")[0]
    if repository.lower() != repository:
        raise _bad(text, f'the repository name "{repository.partition("@")[0]}" must be lower-case')
    match = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if match is None:
        raise _bad(text, "it does not have the form [host[:port]/]path[:tag][@digest]")
    name, tag, digest = match.group(1), match.group(2) or "", match.group(3) or ""
    path = name[len(domain) + 1 :]
    # The library takes a first component that no domain can be ("a_b.c/d") for a part of the path, and BuildKit for the host again.
    if len(path if _HOST.fullmatch(domain) else name) > _MAX_PATH:
        raise _bad(text, f"the repository name is longer than {_MAX_PATH} characters")
    if digest:
        algorithm, _, value = digest.partition(":")
        if _HEX_LENGTHS.get(algorithm) != len(value) or value.lower() != value:
            raise _bad(text, f'"{digest}" is not a digest of sha256, sha384 or sha512')
    if not tag and not digest:
        tag = default_tag
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    is_domain = slash and (any(sign in first for sign in ".:") or first == "localhost" or first.lower() != first)
    domain, remainder = (first, rest) if is_domain else ("docker.io", text)
    if domain == "index.docker.io":
        domain = "docker.io"
    if domain == "docker.io" and "/" not in remainder:
        remainder = f"library/{remainder}"
    return domain, remainder


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f'image reference "{text}" is not valid: {why}', hint="write [host[:port]/]path[:tag], for example ghcr.io/me/app:1.0"
    )
