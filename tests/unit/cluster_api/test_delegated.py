"""Kubeconfigs of unusual kinds go through the package kubernetes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.cluster.config import Connection, resolve
from kubectl_build.errors import ConfigError
from kubectl_build.model.kubeflags import KubeFlags


def _connection(folder: Path, provider: dict[str, Any], **flags: Any) -> Connection:
    document = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "jane"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://h"}}],
        "users": [{"name": "jane", "user": {"auth-provider": provider}}, {"name": "other", "user": {"auth-provider": provider}}],
    }
    path = folder / "config"
    path.write_text(json.dumps(document))
    return resolve(KubeFlags(kubeconfig=str(path), **flags), environ={})


def _jwt(**claims: Any) -> str:
    parts: tuple[dict[str, Any], ...] = ({"alg": "none"}, claims, {})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


async def test_auth_provider_oidc_gives_its_token(tmp_path: Path) -> None:
    token = _jwt(sub="jane", exp=32503680000)
    connection = _connection(tmp_path, {"name": "oidc", "config": {"id-token": token}})

    assert (await connection.authenticator.authenticate()).authorization == f"Bearer {token}"
    assert (await connection.authenticator.authenticate(refused=True)).authorization == f"Bearer {token}"


async def test_auth_provider_that_nobody_knows_is_refused_with_what_to_do(tmp_path: Path) -> None:
    connection = _connection(tmp_path, {"name": "azure", "config": {}})

    with pytest.raises(ConfigError) as caught:
        await connection.authenticator.authenticate()
    assert caught.value.message == 'the auth-provider of user "jane" gives no token'
    assert caught.value.hint == "replace the auth-provider in the kubeconfig by an exec plugin (for example kubelogin)"


async def test_auth_provider_that_fails_is_a_config_error(tmp_path: Path) -> None:
    connection = _connection(tmp_path, {"name": "oidc", "config": {}})

    with pytest.raises(ConfigError, match='cannot log in as user "jane" with its auth-provider'):
        await connection.authenticator.authenticate()


def test_auth_provider_of_a_user_outside_of_the_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="works only through a context"):
        _connection(tmp_path, {"name": "oidc", "config": {}}, user="other")
