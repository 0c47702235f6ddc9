"""model.reference against distribution/reference itself."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubectl_build.errors import UsageError
from kubectl_build.model.reference import Reference, parse_reference
from tests.oracles.build import ask

pytestmark = pytest.mark.timeout(320)  # the first run compiles the oracle

_SHA256 = "sha256:" + "0a" * 32
_HOSTS = [
    "", "docker.io/", "index.docker.io/", "registry-1.docker.io/", "localhost/", "localhost:5000/", "LOCALHOST/", "Host/", "a.b/",
    "a_b.c/", "127.0.0.1:5000/", "[::1]/", "[::1]:5000/", "[fe80::1%eth0]/", "::1/", "example.com:/", "example.com:x/", "-a.b/",
    "a-.b/", "a..b/", "a/", "https://a.b/", "é.com/", "/",
]  # fmt: skip
_PATHS = [
    "app", "library/app", "team/app", "a/b/c/d", "App", "team/App", "a__b", "a___b", "a.b", "a..b", "a-b", "a---b", "-a", "a-",
    "_a", "a_", "a_-b", "", "a//b", "a/", "é", "0" * 64, "f" * 63, "a" * 255, "a" * 256, "a" * 248, "a/" * 124 + "abcdefg", "a/" *
    124 + "abcdefgh",
]  # fmt: skip
_SUFFIXES = [
    "", ":1.0", ":latest", ":", ":A_b.c-D", ":.a", ":-a", ":_a", ":" + "t" * 128, ":" + "t" * 129, ":é", ":1:2", f"@{_SHA256}",
    f":1@{_SHA256}", f"@{_SHA256}:1", "@sha256:0a", "@sha256:" + "0A" * 32, "@SHA256:" + "0a" * 32, "@sha384:" + "0a" * 48,
    "@sha512:" + "0a" * 64, "@sha512:" + "0a" * 32, "@md5:" + "0a" * 16, "@sha256+b64:" + "0a" * 32, "@", " ", "\n",
]  # fmt: skip


def _expected(answer: dict[str, Any]) -> Reference | None:
    if "error" in answer:
        return None
    domain, path = answer.get("domain", ""), answer["path"]
    if not domain:
        # A first component that no domain can be is for the library a part of the path; BuildKit connects to it as the host.
        domain, _, path = path.partition("/")
    reference = Reference(domain=domain, path=path, tag=answer.get("tag", ""), digest=answer.get("digest", ""))
    assert (str(reference), reference.repository) == (answer["text"], answer["name"])
    return reference


def _ours(text: str) -> Reference | None:
    try:
        return parse_reference(text)
    except UsageError:
        return None


def _compare(texts: list[str]) -> None:
    for text, answer in zip(texts, ask("references", texts), strict=True):
        assert (text, _ours(text)) == (text, _expected(answer))


def test_parse_reference_over_the_table_equals_distribution() -> None:
    _compare(["".join(parts) for parts in itertools.product(_HOSTS, _PATHS, _SUFFIXES)])


_PART = st.one_of(
    st.sampled_from([*_PATHS[:20], "localhost", "docker.io"]),
    st.from_regex(r"\A[a-zA-Z0-9._:\[\]-]{1,10}\Z"),
    st.text(max_size=4),
)
_REFERENCES = st.builds(
    lambda host, parts, suffix: host + "/".join(parts) + suffix,
    st.one_of(st.sampled_from(_HOSTS), st.from_regex(r"\A[a-zA-Z0-9._-]{1,8}(:[0-9]{0,5})?/\Z")),
    st.lists(_PART, min_size=1, max_size=3),
    st.one_of(st.sampled_from(_SUFFIXES), st.from_regex(r"\A(:[\w.-]{0,6})?(@[a-zA-Z0-9+._-]{1,8}:[0-9a-fA-F]{30,34})?\Z")),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(st.lists(_REFERENCES, min_size=20, max_size=50))
def test_parse_reference_of_generated_names_equals_distribution(texts: list[str]) -> None:
    _compare(texts)
