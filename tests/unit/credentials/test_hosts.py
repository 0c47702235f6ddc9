"""Which key is for which registry."""

from __future__ import annotations

import pytest

from kubectl_build.credentials.hosts import HostKey, find_entry, parse_key


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("reg.example.com", "reg.example.com", ""),
        ("Reg.Example.com:5000", "reg.example.com:5000", ""),
        ("https://reg.example.com", "reg.example.com", ""),
        ("HTTP://reg.example.com:5000/", "reg.example.com:5000", ""),
        ("https://reg.example.com/v2/", "reg.example.com", ""),
        ("reg.example.com/v1", "reg.example.com", ""),
        ("reg.example.com/v2/team", "reg.example.com", "/team"),
        ("reg.example.com/v2team", "reg.example.com", "/v2team"),
        ("reg.example.com/team/app/", "reg.example.com", "/team/app"),
        ("https://index.docker.io/v1/", "docker.io", ""),
        ("index.docker.io", "docker.io", ""),
        ("registry-1.docker.io", "docker.io", ""),
        ("docker.io/team", "docker.io", "/team"),
        ("*.example.com", "*.example.com", ""),
        ("[::1]:5000", "[::1]:5000", ""),
        ("", "", ""),
    ],
)
def test_parse_key_takes_host_and_path_from_every_spelling(text: str, host: str, path: str) -> None:
    assert parse_key(text) == HostKey(host, path)


@pytest.mark.parametrize(
    ("key", "host", "found"),
    [
        ("reg.example.com", "reg.example.com", True),
        ("reg.example.com", "REG.example.com", True),
        ("reg.example.com", "reg.example.com:443", False),
        ("reg.example.com:5000", "reg.example.com", False),
        ("https://index.docker.io/v1/", "registry-1.docker.io", True),
        ("docker.io", "index.docker.io", True),
        ("registry-1.docker.io", "docker.io", True),
        # The kubelet's own examples and rules (keyring.go, URLsMatch).
        ("*.example.com", "reg.example.com", True),
        ("*.example.com", "a.reg.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.*.example.com", "a.reg.example.com", True),
        ("reg*.example.com", "reg7.example.com", True),
        ("*-reg.example.com", "eu-reg.example.com", True),
        ("reg.*.com", "reg.example.com", True),
        ("*.example.com:5000", "reg.example.com:5000", True),
        ("*.example.com", "reg.example.com:5000", False),
        ("*.example.com:*", "reg.example.com:5000", False),
        ("*.docker.io", "docker.io", True),
        ("*", "localhost", True),
        ("*", "reg.example.com", False),
        ("reg?.example.com", "reg1.example.com", True),
        ("reg[12].example.com", "reg2.example.com", True),
        ("reg[^12].example.com", "reg2.example.com", False),
        ("[::1]:5000", "[::1]:5000", True),
    ],
)
def test_find_entry_matches_hosts_as_docker_and_the_kubelet_do(key: str, host: str, found: bool) -> None:
    assert (find_entry({parse_key(key): "login"}, host) == "login") is found


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("team/app", "app"),
        ("team/application", "app"),  # the kubelet compares the start of the text
        ("team/other", "team"),
        ("else", "host"),
        ("", "host"),
    ],
)
def test_find_entry_prefers_the_longest_path(repository: str, expected: str) -> None:
    keys = {"reg.example": "host", "reg.example/team": "team", "https://reg.example/v2/team/app": "app", "*.example": "any"}

    assert find_entry({parse_key(key): login for key, login in keys.items()}, "reg.example", repository) == expected


def test_find_entry_for_a_host_alone_takes_a_key_with_a_path() -> None:
    entries = {parse_key("reg.example/a"): "a", parse_key("reg.example/b/c"): "b"}

    assert find_entry(entries, "reg.example") == "b"
    assert find_entry(entries, "reg.example", "a/app") == "a"
    assert find_entry(entries, "reg.example", "other") == "b"
    assert find_entry(entries, "other.example", "a") is None
