from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.builder.buildkitd_config import (
    authority_files,
    file_stem,
    load_buildkitd_config,
    parse_buildkitd_config,
    read_settings,
    render_buildkitd_config,
    secret_files,
)
from kubectl_build.builder.manifests import render
from kubectl_build.builder.spec import BuilderSpec, RegistrySettings, SpecChange, merge
from kubectl_build.errors import ConfigError, UsageError

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def _spec_of(path: Path) -> BuilderSpec:
    config = load_buildkitd_config(path)
    return merge(BuilderSpec(), SpecChange(buildkitd_config=config.text, registries=config.registries, client_files=config.client_files))


def test_user_file_reaches_the_pod_with_its_certificates_under_new_paths(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CA.rstrip("\n"))
    (tmp_path / "client.pem").write_text("client certificate")
    (tmp_path / "client.key").write_text("client key")
    file = tmp_path / "buildkitd.toml"
    file.write_text(
        f"""
debug = true
[registry."r:5000"]
  ca = ["{tmp_path}/ca.pem", "{tmp_path}/ca.pem"]
  insecure = false
  [[registry."r:5000".keypair]]
    cert = "{tmp_path}/client.pem"
    key = "{tmp_path}/client.key"
[registry."docker.io"]
  mirrors = ["r:5000/hub"]
"""
    )

    spec = _spec_of(file)

    assert spec.registries == {
        "r:5000": RegistrySettings(ca=CA + CA, insecure=False),
        "docker.io": RegistrySettings(mirrors=("r:5000/hub",)),
    }
    assert tomllib.loads(render_buildkitd_config(spec)) == {
        "debug": True,
        "registry": {
            "docker.io": {"mirrors": ["r:5000/hub"]},
            "r:5000": {
                "insecure": False,
                "ca": ["/etc/buildkit/certs/r_5000.ca.pem"],
                "keypair": [{"cert": "/etc/buildkit/certs/r_5000-0.cert", "key": "/etc/buildkit/certs/r_5000-0.key"}],
            },
        },
    }
    assert {name: file.content for name, file in spec.client_files.items()} == {
        "r_5000-0.cert": "client certificate",
        "r_5000-0.key": "client key",
    }
    assert secret_files(spec) == ("r_5000-0.cert", "r_5000-0.key", "r_5000.ca.pem")
    secret = render("b", "", spec, ()).secret
    assert secret is not None
    assert sorted(secret["data"]) == ["r_5000-0.cert", "r_5000-0.key", "r_5000.ca.pem"]


def test_certificate_directory_is_read_as_buildkit_reads_it(tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    certs.mkdir()
    (certs / "root.crt").write_text(CA)
    (certs / "c.cert").write_text("cert")
    (certs / "c.key").write_text("key")
    (certs / "README").write_text("no certificate")
    file = tmp_path / "b.toml"
    file.write_text(f'[registry."r"]\ntlsconfigdir = ["{certs}"]\n')

    spec = _spec_of(file)

    assert spec.registries["r"].ca == CA
    assert {name: file.content for name, file in spec.client_files.items()} == {"r-0.cert": "cert", "r-0.key": "key"}


def test_pod_file_gives_the_same_settings_back(tmp_path: Path) -> None:
    """For users who may read pods only: buildkitd.toml and the authorities come by exec."""
    spec = BuilderSpec(
        registries={
            "r:5000": RegistrySettings(ca=CA, insecure=True),
            "m": RegistrySettings(http=True),
            "d": RegistrySettings(mirrors=("m",)),
        }
    )
    text = render_buildkitd_config(spec)

    assert authority_files(text) == ("/etc/buildkit/certs/r_5000.ca.pem",)
    assert read_settings(text, {"/etc/buildkit/certs/r_5000.ca.pem": CA}.__getitem__) == spec.registries


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a =", "is not TOML"),
        ("registry = 1", '"registry" must be a table'),
        ('[registry."r"]\nmirrors = "m"', '"registry.r.mirrors" must be an array of strings'),
        ('[registry."r"]\nhttp = "yes"', '"registry.r.http" must be true or false'),
        ('[registry."r"]\nkeypair = [{cert = "a"}]', 'needs the path "cert"|needs the path "key"'),
        ('root = "/data"', 'sets root = "/data"'),
        ('[grpc]\naddress = ["tcp://0.0.0.0:1234"]', "sets grpc.address"),
    ],
)
def test_config_with_a_mistake_is_an_error_that_names_it(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_buildkitd_config(text, source='"b.toml"', read=lambda path: "content")


def test_config_that_keeps_the_socket_may_listen_elsewhere_too() -> None:
    text = '[grpc]\naddress = ["unix:///run/buildkit/buildkitd.sock", "tcp://127.0.0.1:1"]\n'

    assert tomllib.loads(parse_buildkitd_config(text, source="x").text) == tomllib.loads(text)


def test_places_that_every_daemon_knows_are_left_to_it_since_a_rootless_one_has_others() -> None:
    text = 'root = "/var/lib/buildkit"\ndebug = true\n[grpc]\naddress = ["unix:///run/buildkit/buildkitd.sock"]\nuid = 1\n'

    assert tomllib.loads(parse_buildkitd_config(text, source="x").text) == {"debug": True, "grpc": {"uid": 1}}


def test_config_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: no such file"):
        load_buildkitd_config(tmp_path / "none.toml")


def test_certificate_that_is_not_there_is_named_with_the_file_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    file.write_text('[registry."r"]\nca = ["/no/such.pem"]\n')

    with pytest.raises(UsageError) as caught:
        load_buildkitd_config(file)

    assert caught.value.message == f'file, named in "{file}", "/no/such.pem" cannot be read: no such file or directory'


def test_authority_that_is_no_certificate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no PEM certificate"):
        parse_buildkitd_config('[registry."r"]\nca = ["x"]', source="x", read=lambda path: "key")


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_file_stem_of_two_hosts_differs_and_is_a_secret_key(hosts: list[str]) -> None:
    stems = [file_stem(host) for host in hosts]

    assert stems[0] != stems[1]
    assert all(stem.replace("_", "").replace("-", "").replace(".", "").isascii() for stem in stems)
