"""What a registry may ask for, and where a login may go."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from kubectl_build.registry.authorization import forbidden_target, parse_challenges
from kubectl_build.registry.http import retry_after


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        (["Basic"], [("basic", {})]),
        (['BASIC realm="a b, c"'], [("basic", {"realm": "a b, c"})]),
        (['Bearer realm="r",Service=s , scope="x:y:pull,push"'], [("bearer", {"realm": "r", "service": "s", "scope": "x:y:pull,push"})]),
        (["Negotiate, Basic"], [("negotiate", {}), ("basic", {})]),
        (['Basic realm="b", Bearer realm="r",service="s"'], [("basic", {"realm": "b"}), ("bearer", {"realm": "r", "service": "s"})]),
        (["Negotiate", 'Basic realm="q\\"uote"'], [("negotiate", {}), ("basic", {"realm": 'q"uote'})]),
        (['Bearer realm="never ends'], [("bearer", {})]),
        ([", ,Basic"], [("basic", {})]),
        ([""], []),
    ],
)  # fmt: skip
def test_parse_challenges_reads_every_form(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(challenge.scheme, challenge.parameters) for challenge in parse_challenges(headers)] == expected


@given(st.lists(st.text(alphabet='Basicr=",\\ \t\x00é', max_size=40), max_size=3))
def test_parse_challenges_of_anything_ends(headers: list[str]) -> None:
    assert all(challenge.scheme for challenge in parse_challenges(headers))


@pytest.mark.parametrize(
    ("target", "asked", "why"),
    [
        ("https://auth.example/token", "https://reg.example/v2/", ""),
        ("https://10.0.0.5/token", "https://reg.example/v2/", ""),
        ("http://auth.example/token", "http://reg.example/v2/", ""),
        ("http://auth.example/token", "https://reg.example/v2/", "it is plain HTTP, and the registry is not"),
        ("http://reg.example/token", "https://reg.example/v2/", "it is plain HTTP, and the registry is not"),
        ("https://169.254.169.254/token", "https://reg.example/v2/", "it is an address of the machine that asks"),
        ("http://127.0.0.1:8001/", "http://reg.example/v2/", "it is an address of the machine that asks"),
        ("https://[::1]/", "https://reg.example/v2/", "it is an address of the machine that asks"),
        ("https://localhost/", "https://reg.example/v2/", "it is an address of the machine that asks"),
        ("https://0.0.0.0/", "https://reg.example/v2/", "it is an address of the machine that asks"),
        ("http://localhost:5001/token", "http://127.0.0.1:5000/v2/", ""),
        ("https://me@auth.example/token", "https://reg.example/v2/", "it has a login in it"),
        ("file:///etc/passwd", "https://reg.example/v2/", "it is not an http or https URL"),
        ("//auth.example/token", "https://reg.example/v2/", "it is not an http or https URL"),
    ],
)
def test_forbidden_target_lets_no_registry_choose_where_a_login_goes(target: str, asked: str, why: str) -> None:
    assert forbidden_target(URL(target), URL(asked)) == why


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after({"Retry-After": " 12 "}) == 12
    assert retry_after({"Retry-After": formatdate(0, usegmt=True)}) == 0
    assert (retry_after({"Retry-After": formatdate(4102444800, usegmt=True)}) or 0) > 3600
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None
