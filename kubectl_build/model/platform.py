"""Platforms: `os[(version[+feature...])][/architecture[/variant]]`, parsed and normalized as containerd/platforms does
(v1.0.0-rc.4: platforms.go, database.go).

tests/unit/model/test_platform_oracle.py compares this module with that library over a table and generated input. Two things differ on
purpose, since a client's own machine must not matter: a lone architecture means linux, and a lone operating system takes the caller's
default architecture.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable

from kubectl_build.errors import UsageError
from kubectl_build.values import dataclass

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")
_OS_AND_OPTIONS = re.compile(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# fmt: off
_KNOWN_OS = frozenset((
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd",
    "openbsd", "plan9", "solaris", "windows", "zos",
))
_KNOWN_ARCH = frozenset((
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "ppc64", "ppc64le", "loong64", "mips", "mipsle",
    "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64",
    "wasm",
))
# fmt: on
_OPTION_ESCAPES = str.maketrans({"%": "%25", "+": "%2B", "(": "%28", ")": "%29", "/": "%2F"})


@dataclass(frozen=True, slots=True)
class Platform:
    """A normalized platform. An empty variant is the architecture's default; `os_features` is sorted and without duplicates."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def full_name(self) -> str:
        """The name with the operating system's version and features, as BuildKit keys results by platform (windows(10.0.1)/amd64)."""
        options = self.os_version.translate(_OPTION_ESCAPES)
        options += "".join("+" + feature.translate(_OPTION_ESCAPES) for feature in self.os_features)
        os = f"{self.os}({options})" if options else self.os
        return "/".join(part for part in (os, self.architecture, self.variant) if part)


def normalize(os: str, architecture: str, variant: str = "", os_version: str = "", os_features: Iterable[str] = ()) -> Platform:
    """Return the platform under its usual names: x86_64 becomes amd64, aarch64 arm64, armhf arm/v7, macos darwin, "" linux."""
    arch, var = _normalize_arch(architecture, variant)
    return Platform(_normalize_os(os), arch, var, os_version, tuple(sorted(set(os_features))))


def _normalize_os(os: str) -> str:
    os = os.lower() or "linux"
    return "darwin" if os == "macos" else os


def _normalize_arch(architecture: str, variant: str) -> tuple[str, str]:
    arch, var = architecture.lower(), variant.lower()
    match arch:
        case "i386":
            return "386", ""
        case "x86_64" | "x86-64" | "amd64":
            return "amd64", "" if var == "v1" else var
        case "aarch64" | "arm64":
            return "arm64", "" if var in ("8", "v8", "v8.0") else {"9": "v9", "9.0": "v9", "v9.0": "v9"}.get(var, var)
        case "armhf":
            return "arm", "v7"
        case "armel":
            return "arm", "v6"
        case "arm":
            return "arm", {"": "v7", "7": "v7", "5": "v5", "6": "v6", "8": "v8"}.get(var, var)
    return arch, var


def parse_platform(text: str, *, default_arch: str = "amd64") -> Platform:
    """Parse one specifier. A lone operating system takes `default_arch`; a lone architecture means linux.

    Raises UsageError that quotes `text`.
    """
    parts = text.split("/")
    head = _OS_AND_OPTIONS.fullmatch(parts[0])
    if head is None:
        raise _bad(text, f'"{parts[0]}" is not an operating system')
    for part in parts[1:]:
        if not _COMPONENT.fullmatch(part):
            raise _bad(text, f'"{part}" may have only letters, digits, "_", "." and "-"' if part else "it has an empty part")
    if len(parts) > 3:
        raise _bad(text, "it has more than three parts")
    version = _decode_option(text, head.group(2) or "")
    features = [_decode_option(text, feature) for feature in (head.group(3) or "").split("+") if feature]
    if len(parts) > 1:
        return normalize(head.group(1), parts[1], parts[2] if len(parts) == 3 else "", version, features)
    if _normalize_os(head.group(1)) in _KNOWN_OS:
        return normalize(head.group(1), default_arch, "", version, features)
    architecture, variant = _normalize_arch(parts[0], "")
    if architecture in _KNOWN_ARCH:
        return normalize("linux", architecture, variant)
    raise _bad(text, "it is neither an operating system nor an architecture that is known")


def _decode_option(text: str, option: str) -> str:
    if _BAD_ESCAPE.search(option):
        raise _bad(text, f'"{option}" has a "%" without two hexadecimal digits')
    try:
        return urllib.parse.unquote(option, errors="strict")
    except UnicodeDecodeError as exc:
        raise _bad(text, f'"{option}" is not UTF-8') from exc


def _bad(text: str, why: str) -> UsageError:
    return UsageError(f'platform "{text}" is not valid: {why}', hint="write os/arch[/variant], for example linux/amd64 or linux/arm/v7")


def parse_platforms(texts: Iterable[str], *, local: Platform | None = None) -> tuple[Platform, ...]:
    """Parse values of --platform: each a comma list; duplicates are dropped, the order stays. `local` is what the word "local" stands for.

    Raises UsageError.
    """
    items = [item.strip() for text in texts for item in text.split(",")]
    parsed = (local if local is not None and item.lower() == "local" else parse_platform(item) for item in items)
    return tuple(dict.fromkeys(parsed))


def runs_on(platform: Platform, architecture: str, *, arm32: bool = False) -> bool:
    """Tell whether programs for `platform` run on a Linux node of Kubernetes architecture `architecture` with no emulator.

    amd64 runs 386; arm64 runs 32-bit arm only where the pool says so (`arm32`), since many arm64 servers cannot.
    """
    if platform.os != "linux":
        return False
    if platform.architecture == architecture:
        return True
    if architecture == "amd64":
        return platform.architecture == "386"
    return architecture == "arm64" and platform.architecture == "arm" and arm32


def native_architecture(platform: Platform) -> str:
    """Return the node architecture (value of kubernetes.io/arch) whose nodes run this platform natively: 386 on amd64; else its own."""
    return "amd64" if platform.architecture == "386" else platform.architecture


def qemu_name(architecture: str) -> str:
    """QEMU's name for an architecture, as in buildkit-qemu-aarch64 (moby/buildkit solver/llbsolver/ops/exec_binfmt.go)."""
    return {"arm64": "aarch64", "amd64": "x86_64", "386": "i386", "loong64": "loongarch64"}.get(architecture, architecture)
