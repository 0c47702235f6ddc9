from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_build.cluster.authentication import Authentication, ClientCertificate, TokenFile
from kubectl_build.cluster.config import IN_CLUSTER, Connection, resolve
from kubectl_build.errors import ConfigError, UsageError
from kubectl_build.model.kubeflags import KubeFlags


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _document(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [
            {"name": "c1", "cluster": {"server": "https://one.example:6443", "certificate-authority-data": _b64("CA 1")}},
            {"name": "c2", "cluster": {"server": "https://two.example/path/"}},
        ],
        "users": [{"name": "u1", "user": {"token": "t1"}}, {"name": "u2", "user": {"username": "n", "password": "p"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c1", "user": "u1", "namespace": "ns1"}},
            {"name": "two", "context": {"cluster": "c2", "user": "u2"}},
        ],
    }
    return document | changes


def _write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def _resolve(path: Path | str | None = None, environ: dict[str, str] | None = None, **flags: Any) -> Connection:
    return resolve(KubeFlags(kubeconfig=str(path) if path else None, **flags), environ=environ or {}, service_account=Path("/nonexistent"))


async def _authorization(connection: Connection) -> str:
    return (await connection.authenticator.authenticate()).authorization


async def test_resolve_current_context_gives_server_user_and_namespace(tmp_path: Path) -> None:
    connection = _resolve(_write(tmp_path / "config", _document()))

    assert connection.server == "https://one.example:6443"
    assert connection.namespace == "ns1"
    assert connection.context_name == "one"
    assert connection.user_name == "u1"
    assert connection.tls.ca == b"CA 1"
    assert await _authorization(connection) == "Bearer t1"


async def test_resolve_chosen_context_overrides_the_current_one(tmp_path: Path) -> None:
    connection = _resolve(_write(tmp_path / "config", _document()), context="two")

    assert connection.server == "https://two.example/path"
    assert connection.namespace == "default"
    assert await _authorization(connection) == "Basic " + _b64("n:p")


def test_resolve_without_current_context_works_with_a_chosen_one(tmp_path: Path) -> None:
    path = _write(tmp_path / "config", _document(**{"current-context": ""}))

    assert _resolve(path, context="one").server == "https://one.example:6443"
    with pytest.raises(ConfigError) as caught:
        _resolve(path)
    assert caught.value.message == f"no context is chosen: there is no current-context in the kubeconfig ({path})"
    assert caught.value.hint == "contexts in it: one, two; choose one with --context"


async def test_resolve_flags_override_each_part(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("other CA")
    path = _write(tmp_path / "config", _document())
    connection = _resolve(
        path, cluster="c2", user="u2", namespace="x", server="https://three.example", certificate_authority=str(tmp_path / "ca")
    )

    assert connection.server == "https://three.example"
    assert connection.namespace == "x"
    assert connection.tls.ca == b"other CA"
    assert await _authorization(connection) == "Basic " + _b64("n:p")
    assert await _authorization(_resolve(path, token="typed")) == "Bearer typed"
    assert await _authorization(_resolve(path, username="a", password="b")) == "Basic " + _b64("a:b")


async def test_resolve_server_and_token_need_no_kubeconfig(home: Path) -> None:
    connection = _resolve(server="https://x.example", token="t", environ={"HOME": str(home)})

    assert connection.server == "https://x.example"
    assert await _authorization(connection) == "Bearer t"


def test_resolve_insecure_flag_replaces_the_authority_and_server_flag_the_name(tmp_path: Path) -> None:
    document = _document()
    document["clusters"][0]["cluster"]["tls-server-name"] = "inner"
    path = _write(tmp_path / "config", document)

    assert _resolve(path).tls.server_name == "inner"
    assert _resolve(path, server="https://other").tls.server_name is None
    assert _resolve(path, server="https://other", tls_server_name="name").tls.server_name == "name"
    insecure = _resolve(path, insecure_skip_tls_verify=True).tls
    assert insecure.insecure
    assert insecure.ca is None


async def test_resolve_merges_a_list_where_the_first_entry_wins_whole(tmp_path: Path) -> None:
    first = {
        "users": [{"name": "u1", "user": {"username": "first"}}],
        "contexts": [{"name": "only-here", "context": {"cluster": "c1", "user": "u1"}}],
    }
    one, two = _write(tmp_path / "1", first), _write(tmp_path / "2", _document())
    environ = {"KUBECONFIG": os.pathsep.join([str(tmp_path / "gone"), str(one), str(two), str(one), ""])}
    connection = _resolve(environ=environ)

    assert connection.context_name == "one"
    assert await _authorization(connection) == "Basic " + _b64("first:"), "the second file's token must not join the first file's user"
    assert _resolve(environ=environ, context="only-here").server == "https://one.example:6443"


async def test_resolve_relative_paths_are_relative_to_their_own_file(tmp_path: Path) -> None:
    document = _document(
        clusters=[{"name": "c1", "cluster": {"server": "https://h", "certificate-authority": "pki/ca"}}],
        users=[{"name": "u1", "user": {"client-certificate": "pki/crt", "client-key": "pki/key", "tokenFile": "pki/token"}}],
    )
    path = _write(tmp_path / "deep" / "config", document)
    (tmp_path / "deep" / "pki").mkdir()
    for name in ("ca", "crt", "key", "token"):
        (tmp_path / "deep" / "pki" / name).write_text(f"the {name}\n")
    connection = _resolve(path)

    assert connection.tls.ca == b"the ca\n"
    assert await connection.authenticator.authenticate() == Authentication(
        authorization="Bearer the token", certificate=ClientCertificate(b"the crt\n", b"the key\n")
    )


async def test_resolve_data_wins_over_file(tmp_path: Path) -> None:
    user = {"client-certificate": "/none", "client-certificate-data": _b64("crt"), "client-key": "/none", "client-key-data": _b64("key")}
    connection = _resolve(_write(tmp_path / "config", _document(users=[{"name": "u1", "user": user}])))

    assert (await connection.authenticator.authenticate()).certificate == ClientCertificate(b"crt", b"key")


async def test_resolve_plain_http_sends_no_credentials(tmp_path: Path) -> None:
    connection = _resolve(_write(tmp_path / "config", _document()), server="http://localhost:8080")

    assert await connection.authenticator.authenticate() == Authentication()


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"server": "h:8080"}, "http://h:8080"),
        ({"server": "h:6443", "insecure-skip-tls-verify": True}, "https://h:6443"),
        ({"server": "https://[fd00::1]:6443/"}, "https://[fd00::1]:6443"),
    ],
)
def test_resolve_server_without_scheme_is_https_only_where_tls_is_spoken_of(
    tmp_path: Path, cluster: dict[str, object], expected: str
) -> None:
    assert _resolve(_write(tmp_path / "config", _document(clusters=[{"name": "c1", "cluster": cluster}]))).server == expected


def test_resolve_impersonation_from_flags_and_file(tmp_path: Path) -> None:
    user = {"token": "t", "as": "filed", "as-uid": "7", "as-groups": ["g"], "as-user-extra": {"scope": ["a", "b"]}}
    path = _write(tmp_path / "config", _document(users=[{"name": "u1", "user": user}]))

    assert _resolve(path).impersonation == (
        ("Impersonate-User", "filed"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "g"),
        ("Impersonate-Extra-scope", "a"),
        ("Impersonate-Extra-scope", "b"),
    )
    typed = _resolve(path, as_user="typed", as_groups=("x", "y")).impersonation
    assert typed[0] == ("Impersonate-User", "typed")
    assert [value for name, value in typed if name == "Impersonate-Group"] == ["x", "y"]


def test_resolve_group_without_user_to_act_as_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--as-group and --as-uid need a user to act as"):
        _resolve(_write(tmp_path / "config", _document()), as_groups=("g",))


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [(None, None), ("", None), ("0", None), ("5", 5.0), ("30s", 30.0), ("1m30s", 90.0), ("1.5h", 5400.0), ("250ms", 0.25), ("0s", None)],
)
def test_resolve_request_timeout_is_read_as_kubectl_reads_it(tmp_path: Path, typed: str | None, seconds: float | None) -> None:
    assert _resolve(_write(tmp_path / "config", _document()), request_timeout=typed).request_timeout == seconds


@pytest.mark.parametrize("typed", ["soon", "5 s", "-1s", "1d", "s"])
def test_resolve_request_timeout_that_is_no_time_is_a_usage_error(tmp_path: Path, typed: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        _resolve(_write(tmp_path / "config", _document()), request_timeout=typed)


def test_resolve_missing_kubeconfig_names_the_path(home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _resolve(environ={"HOME": str(home)})
    assert caught.value.message == f"there is no kubeconfig: {home / '.kube' / 'config'} does not exist"

    with pytest.raises(ConfigError) as caught:
        _resolve(home / "typed")
    assert caught.value.message == f"the kubeconfig {home / 'typed'} does not exist"
    assert caught.value.exit_code == 3


def test_resolve_empty_kubeconfig_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("")

    with pytest.raises(ConfigError, match="is empty"):
        _resolve(path)


def test_resolve_kubeconfig_that_cannot_be_read_names_path_and_cause(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _resolve(tmp_path)
    assert caught.value.message == f"cannot read the kubeconfig {tmp_path}: Is a directory"


def test_resolve_malformed_yaml_names_the_place_and_not_the_text(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("users:\n- name: u\n  user: {token: hush\n  more\n")

    with pytest.raises(ConfigError) as caught:
        _resolve(path)
    assert caught.value.message.startswith(f"the kubeconfig {path} is not YAML: line ")
    assert "hush" not in str(caught.value.message)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a\n", "it holds no mapping"),
        ("clusters: x\n", "clusters is not a list"),
        ("users: [{user: {}}]\n", "users has an entry without a name"),
        ("users: [3]\n", "users has an entry without a name"),
        ("users: [{name: a, user: 3}]\n", 'user "a" is not a mapping'),
        ("users: [{name: a}, {name: a}]\n", 'it has two entries named "a" in users'),
        ("current-context: [1]\n", "current-context is not a string"),
        ("\x00", "is not YAML"),
    ],
)
def test_resolve_document_of_another_shape_is_refused_in_words(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)

    with pytest.raises(ConfigError) as caught:
        _resolve(path)
    assert str(path) in caught.value.message
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        ({"context": "none"}, '--context "none" is not in the kubeconfig', "contexts in it: one, two; choose one with --context"),
        ({"cluster": "none"}, 'cluster "none" is not in the kubeconfig', "clusters in it: c1, c2"),
        ({"user": "none"}, 'user "none" is not in the kubeconfig', "users in it: u1, u2"),
    ],
)
def test_resolve_unknown_names_list_the_known_ones(tmp_path: Path, flags: dict[str, Any], message: str, hint: str) -> None:
    path = _write(tmp_path / "config", _document())

    with pytest.raises(ConfigError) as caught:
        _resolve(path, **flags)
    assert caught.value.message == f"{message} ({path})"
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("cluster", "user", "message"),
    [
        ({}, {}, 'cluster "c1" of the kubeconfig has no server'),
        ({"server": "ftp://h"}, {}, 'the server "ftp://h" of cluster "c1" is not an http or https URL'),
        ({"server": "https://h:port"}, {}, 'the server "https://h:port" of cluster "c1" is not an http or https URL'),
        ({"server": 3}, {}, "server of the kubeconfig is not a string"),
        ({"server": "https://h", "certificate-authority-data": "???"}, {}, "certificate-authority-data of the kubeconfig is not base64"),
        (
            {"server": "https://h", "certificate-authority": "/none/ca"},
            {},
            "cannot read the certificate-authority /none/ca: No such file or directory",
        ),
        (
            {"server": "https://h", "insecure-skip-tls-verify": True, "certificate-authority-data": "eA=="},
            {},
            "both a certificate-authority and",
        ),
        ({"server": "https://h"}, {"client-key-data": "eA=="}, 'user "u1" of the kubeconfig has a client-key but no client-certificate'),
        (
            {"server": "https://h"},
            {"client-certificate-data": "eA=="},
            'user "u1" of the kubeconfig has a client-certificate but no client-key',
        ),
        ({"server": "https://h", "proxy-url": "socks5://p:1080"}, {}, "proxy-url is a socks5 proxy, which is not supported"),
        ({"server": "https://h", "proxy-url": "nonsense"}, {}, "proxy-url is not the URL of a proxy"),
        ({"server": "https://h"}, {"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, 'plugin of user "u1" has no command'),
        (
            {"server": "https://h"},
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}},
            'has the unsupported apiVersion "client.authentication.k8s.io/v1alpha1"',
        ),
    ],
)
def test_resolve_entry_that_makes_no_sense_is_refused_in_words(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], message: str
) -> None:
    document = _document(clusters=[{"name": "c1", "cluster": cluster}], users=[{"name": "u1", "user": user}])

    with pytest.raises(ConfigError) as caught:
        _resolve(_write(tmp_path / "config", document))
    assert message in caught.value.message


def test_resolve_shows_no_secret_in_repr(tmp_path: Path) -> None:
    user = {"token": "hush", "client-certificate-data": _b64("hush"), "client-key-data": _b64("hush")}
    connection = _resolve(_write(tmp_path / "config", _document(users=[{"name": "u1", "user": user}])))

    assert "hush" not in repr(connection) + repr(connection.authenticator)
    assert "hush" not in repr(KubeFlags(token="hush", password="hush"))


async def test_resolve_in_a_pod_uses_its_service_account_and_reads_the_token_again(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("team\n")
    (tmp_path / "ca.crt").write_text("CA")
    environ = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    connection = resolve(KubeFlags(), environ=environ, service_account=tmp_path)

    assert connection.server == "https://[fd00::1]:443"
    assert connection.namespace == "team"
    assert connection.context_name == IN_CLUSTER
    assert connection.tls.ca == b"CA"
    assert await _authorization(connection) == "Bearer first"
    (tmp_path / "token").write_text("second\n")
    assert await _authorization(connection) == "Bearer first"
    assert (await connection.authenticator.authenticate(refused=True)).authorization == "Bearer second"
    assert resolve(KubeFlags(namespace="x"), environ=environ, service_account=tmp_path).namespace == "x"
    assert resolve(KubeFlags(), environ=environ | {"POD_NAMESPACE": "y"}, service_account=tmp_path).namespace == "y"


def test_resolve_in_a_pod_with_a_context_asked_for_does_not_fall_back(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    environ = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}

    with pytest.raises(ConfigError, match="there is no kubeconfig"):
        resolve(KubeFlags(context="prod"), environ=environ, service_account=tmp_path)


async def test_resolve_in_a_pod_with_a_kubeconfig_uses_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    path = _write(tmp_path / "config", _document())
    environ = {"KUBECONFIG": str(path), "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}

    assert resolve(KubeFlags(), environ=environ, service_account=tmp_path).context_name == "one"


async def test_token_file_is_read_again_after_a_minute(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "token"
    path.write_text("one")
    file = TokenFile(path, clock=lambda: now)
    first = (await file.authenticate()).authorization
    path.write_text("two")
    now = 59.0
    second = (await file.authenticate()).authorization
    now = 60.0
    third = (await file.authenticate()).authorization

    assert [first, second, third] == ["Bearer one", "Bearer one", "Bearer two"]


async def test_token_file_missing_or_empty_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the token file .*No such file"):
        await TokenFile(tmp_path / "none").authenticate()
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        await TokenFile(tmp_path / "empty").authenticate()
