"""model.platform against containerd/platforms itself."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubectl_build.errors import UsageError
from kubectl_build.model.platform import Platform, normalize, parse_platform
from tests.oracles.build import ask

pytestmark = pytest.mark.timeout(320)  # the first run compiles the oracle

_OS = ["linux", "Linux", "windows", "darwin", "macos", "freebsd", "wasip1", "x86_64", "arm", "aarch64", "386", "i386", "unknown", "", "*"]
_ARCH = [
    "amd64", "x86_64", "x86-64", "AMD64", "i386", "386", "arm", "ARM", "armhf", "armel", "arm64", "aarch64", "ppc64le", "s390x", "riscv64",
    "mips64le", "loong64", "wasm", "unknown", "a b", "a_b", "", "é", "*",
]  # fmt: skip
_VARIANT = ["", "v1", "v2", "V2", "v3", "5", "v5", "6", "v6", "7", "v7", "8", "v8", "v8.0", "9", "9.0", "v9.0", "v9.2", "x", "*", "v 8"]
_OPTIONS = [
    "", "()", "(10.0.17763)", "(10.0.17763+win32k)", "(+win32k)", "(+b+a+b)", "(+)", "(a", "a)", "(1%2B2)", "(1%2)", "(%zz)", "(1/2)",
    "(%41+%2F)", "(1)(2)",
]  # fmt: skip

_TABLE = [
    *_OS,
    *_ARCH,
    *(f"{os}/{arch}" for os, arch in itertools.product(_OS, _ARCH)),
    *(f"linux/{arch}/{variant}" for arch, variant in itertools.product(_ARCH, _VARIANT)),
    *(f"{os}{options}/amd64" for os, options in itertools.product(_OS, _OPTIONS)),
    *(f"{os}{options}" for os, options in itertools.product([*_OS, "amd64", "armhf"], _OPTIONS)),
    "linux/amd64/v1/x", "a/b/c/d/e", "/", "//", "///", "/amd64", "linux/", "linux//v7", " linux/amd64", "linux/amd64 ", "linux/amd64\n",
    "linux\n", "linux/amd64,linux/arm64", "local", "-", "_", "...", "-/-/-",
]  # fmt: skip


def _expected(answer: dict[str, Any]) -> tuple[Platform, str, str] | None:
    if "error" in answer:
        return None
    p = answer["platform"]
    platform = Platform(p["os"], p["architecture"], p.get("variant", ""), p.get("os.version", ""), tuple(p.get("os.features", ())))
    return platform, answer["format"], answer["formatAll"]


def _ours(text: str) -> tuple[Platform, str, str] | None:
    try:
        platform = parse_platform(text)
    except UsageError:
        return None
    return platform, str(platform), platform.full_name


def _compare(texts: list[str]) -> None:
    answers = ask("platforms", [{"parse": text} for text in texts])
    for text, answer in zip(texts, answers, strict=True):
        assert (text, _ours(text)) == (text, _expected(answer))


def test_parse_platform_over_the_table_equals_containerd() -> None:
    _compare(_TABLE)


_WORD = st.one_of(
    st.sampled_from([*_OS, *_ARCH, *_VARIANT]),
    # Not dots alone: containerd formats such a part as a path would be cleaned, which says nothing about a platform.
    st.from_regex(r"\A[A-Za-z0-9_.-]{1,8}\Z").filter(lambda word: word.strip(".") != ""),
    st.text(max_size=4),
)
_OPTION = st.from_regex(r"\A(\(([a-z0-9.-]|%[0-7][0-9a-fA-F]|%[g-z]){0,4}(\+([A-Z0-9._-]|%[0-7][0-9]){0,3}){0,3}\))?\Z")


@st.composite
def _specifiers(draw: st.DrawFn) -> str:
    words = draw(st.lists(_WORD, min_size=1, max_size=4))
    return "/".join([words[0] + draw(_OPTION), *words[1:]])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(st.lists(_specifiers(), min_size=20, max_size=50))
def test_parse_platform_of_generated_specifiers_equals_containerd(texts: list[str]) -> None:
    _compare(texts)


def test_normalize_over_the_table_equals_containerd() -> None:
    asked = [
        (os, arch, variant, version, features)
        for os, arch, variant in itertools.product(["", "Linux", "macos", "windows"], _ARCH, _VARIANT)
        for version, features in (("", ()), ("10.0 (x)", ("b", "a", "b")))
    ]
    answers = ask(
        "platforms",
        [
            {"normalize": {"os": os, "architecture": arch, "variant": variant, "os.version": version, "os.features": features}}
            for os, arch, variant, version, features in asked
        ],
    )
    for (os, arch, variant, version, features), answer in zip(asked, answers, strict=True):
        platform = normalize(os, arch, variant, version, features)

        assert (platform, str(platform), platform.full_name) == _expected(answer)
