"""Platforms: `os[/architecture[/variant]]`, parsed and normalized as containerd/platforms does (v1.0.0-rc.4, platforms.go, database.go).

A test compares this module with that library over a table and generated input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kubectl_build.errors import UsageError

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")
_OS_AND_VERSION = re.compile(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?")

_KNOWN_OS = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos".split()
)
_KNOWN_ARCH = frozenset(
    "386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ppc "
    "riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)


@dataclass(frozen=True, slots=True)
class Platform:
    """A normalized platform. An empty variant is the architecture's default."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        parts = [self.os, self.architecture]
        if self.variant:
            parts.append(self.variant)
        return "/".join(parts)

    @property
    def path_name(self) -> str:
        """The name with underscores, as BuildKit names directories of a split local output (linux_arm_v7)."""
        return str(self).replace("/", "_")


def normalize(os: str, architecture: str, variant: str = "", os_version: str = "") -> Platform:
    """Return the platform under its usual names: x86_64 becomes amd64, aarch64 arm64, armhf arm/v7, macos darwin."""
    os = os.lower()
    os = {"macos": "darwin"}.get(os, os)
    arch, var = _normalize_arch(architecture, variant)
    return Platform(os, arch, var, os_version)


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
    parts = text.strip().split("/")
    if len(parts) > 3:
        raise _bad(text, "it has more than three parts")
    head = _OS_AND_VERSION.fullmatch(parts[0])
    if head is None and not (len(parts) == 1 and _COMPONENT.fullmatch(parts[0])):
        raise _bad(text, f'"{parts[0]}" is not an operating system')
    for part in parts[1:]:
        if not _COMPONENT.fullmatch(part):
            raise _bad(text, f'"{part}" may have only letters, digits, "_", "." and "-"')
    os, os_version = (head.group(1), head.group(2) or "") if head else (parts[0], "")
    if len(parts) > 1:
        return normalize(os, parts[1], parts[2] if len(parts) == 3 else "", os_version)
    known_os = normalize(os, "").os
    if known_os in _KNOWN_OS:
        return normalize(known_os, default_arch, "", os_version)
    arch, variant = _normalize_arch(os, "")
    if arch in _KNOWN_ARCH:
        return Platform("linux", arch, variant)
    raise _bad(text, "it is neither an operating system nor an architecture that is known")


def _bad(text: str, why: str) -> UsageError:
    return UsageError(f'platform "{text}" is not valid: {why}', hint="write os/arch[/variant], for example linux/amd64 or linux/arm/v7")


def parse_platforms(texts: Iterable[str], *, local: Platform | None = None) -> tuple[Platform, ...]:
    """Parse values of --platform: each a comma list; duplicates are dropped, the order stays. `local` is what the word "local" stands for.

    Raises UsageError.
    """
    result: list[Platform] = []
    for text in texts:
        for item in text.split(","):
            platform = local if item.strip() == "local" and local is not None else parse_platform(item)
            if platform not in result:
                result.append(platform)
    return tuple(result)


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
