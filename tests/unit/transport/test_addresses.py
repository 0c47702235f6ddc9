"""Daemon addresses, as BUILDKIT_HOST and buildx's remote driver have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.errors import UsageError
from kubectl_build.transport.addresses import KubePodAddress, TcpAddress, TlsFiles, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:///run/buildkit/buildkitd.sock", UnixAddress(path="/run/buildkit/buildkitd.sock")),
        ("unix://run/it.sock", UnixAddress(path="run/it.sock")),
        ("unix:///run/a b?c#d.sock", UnixAddress(path="/run/a b?c#d.sock")),
        ("tcp://127.0.0.1:1234", TcpAddress(host="127.0.0.1", port=1234)),
        ("tcp://[::1]:1234/", TcpAddress(host="::1", port=1234)),
        ("tcp://builder.example:8372?servername=it", TcpAddress(host="builder.example", port=8372, tls=TlsFiles(server_name="it"))),
        (
            "tcp://h:1?cacert=/c/ca.pem&cert=/c/cert.pem&key=k%20ey.pem",
            TcpAddress(host="h", port=1, tls=TlsFiles(ca=Path("/c/ca.pem"), cert=Path("/c/cert.pem"), key=Path("k ey.pem"))),
        ),
        ("tcp://h:1?cacert=", TcpAddress(host="h", port=1)),
        ("kube-pod://buildkitd-0", KubePodAddress(pod="buildkitd-0")),
        (
            "kube-pod://podname?container=containername&namespace=nsname&context=user@cluster",
            KubePodAddress(pod="podname", namespace="nsname", context="user@cluster", container="containername"),
        ),
    ],
)
def test_parse_address_of_each_scheme_gives_its_parts(text: str, expected: object) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["buildkit", "", "team-a", "localhost:1234", "/run/buildkit.sock"])
def test_parse_address_of_a_plain_name_is_none(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("unix://", "it has no path"),
        ("tcp://h", "it has no port"),
        ("tcp://:1234", "it has no host"),
        ("tcp://h:x", "its port is not a number up to 65535"),
        ("tcp://h:65536", "its port is not a number up to 65535"),
        ("tcp://h:1/path", "it may only have a host and options"),
        ("tcp://user@h:1", "it may only have a host and options"),
        ("tcp://h:1?cert=c", "cert and key go together"),
        ("tcp://h:1?tls=yes", 'unknown option "tls": it takes cacert, cert, key, servername'),
        ("tcp://h:1?key=a&key=b", 'option "key" is given twice'),
        ("kube-pod://", "it has no pod"),
        ("kube-pod://Upper", '"Upper" is not the name of a pod'),
        ("kube-pod://unsupported_pod_name", '"unsupported_pod_name" is not the name of a pod'),
        ("kube-pod://p?namespace=a_b", '"a_b" is not the name of a namespace'),
        ("kube-pod://p?container=a_b", '"a_b" is not the name of a container'),
        ("http://h:1", "unknown scheme http://"),
        ("docker-container://buildkitd", "docker-container:// is not supported"),
        ("podman-container://buildkitd", "podman-container:// is not supported"),
        ("ssh://me@host", "ssh:// is not supported"),
    ],
)
def test_parse_address_that_names_no_daemon_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)

    assert caught.value.message == f'daemon address "{text}": {why}'


def test_parse_address_of_a_container_says_what_to_use() -> None:
    with pytest.raises(UsageError) as caught:
        parse_address("docker-container://buildkitd")

    assert "kube-pod://POD" in (caught.value.hint or "")


@given(st.text())
def test_parse_address_of_any_text_gives_an_address_none_or_a_usage_error(text: str) -> None:
    for scheme in ("", "unix://", "tcp://", "kube-pod://"):
        try:
            found = parse_address(scheme + text)
        except UsageError:
            continue
        assert (found is None) == ("://" not in scheme + text)


@pytest.mark.parametrize("text", ["tcp://[::1]:1234", "tcp://h:1", "unix:///run/x.sock", "kube-pod://p"])
def test_address_as_text_reads_as_it_was_written(text: str) -> None:
    assert str(parse_address(text)) == text
