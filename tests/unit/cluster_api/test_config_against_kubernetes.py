"""The package kubernetes and our resolve() agree on who we are, for kubeconfigs of the plain kinds."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_build.cluster.config import resolve
from kubectl_build.model.kubeflags import KubeFlags
from tests.fakes.certificates import Certificates

_PLUGIN = """#!/bin/sh
printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-plugin"}}'
"""


def _users(certificates: Certificates, folder: Path) -> dict[str, dict[str, Any]]:
    chain, key = certificates.client
    plugin = folder / "plugin"
    plugin.write_text(_PLUGIN)
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    (folder / "token").write_text("from-file")
    return {
        "token": {"token": "abc"},
        "token-file": {"tokenFile": str(folder / "token")},
        "basic": {"username": "jane", "password": "pa:ss"},
        "certificate-files": {"client-certificate": str(chain), "client-key": str(key)},
        "certificate-data": {
            "client-certificate-data": base64.b64encode(chain.read_bytes()).decode(),
            "client-key-data": base64.b64encode(key.read_bytes()).decode(),
        },
        "certificate-and-token": {"client-certificate": str(chain), "client-key": str(key), "token": "abc"},
        "plugin": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}},
        "nobody": {},
    }


def _clusters(certificates: Certificates) -> dict[str, dict[str, Any]]:
    ca = {"certificate-authority-data": base64.b64encode(certificates.ca.read_bytes()).decode()}
    return {
        "data": {"server": "https://api.example:6443", **ca},
        "file": {"server": "https://10.1.2.3", "certificate-authority": str(certificates.ca)},
        "insecure": {"server": "https://[fd00::1]:6443", "insecure-skip-tls-verify": True},
        "rancher": {"server": "https://rancher.example/k8s/clusters/c-1/", **ca, "tls-server-name": "inner"},
        "proxied": {"server": "https://api.example", **ca, "proxy-url": "http://proxy.example:3128"},
    }


_USER_NAMES = ["token", "token-file", "basic", "certificate-files", "certificate-data", "certificate-and-token", "plugin", "nobody"]
_CLUSTER_NAMES = ["data", "file", "insecure", "rancher", "proxied"]


@pytest.mark.parametrize("namespace", ["", "team"])
@pytest.mark.parametrize("cluster", _CLUSTER_NAMES)
@pytest.mark.parametrize("user", _USER_NAMES)
async def test_resolve_agrees_with_the_package_kubernetes(
    user: str, cluster: str, namespace: str, certificates: Certificates, tmp_path: Path
) -> None:
    from kubernetes import client
    from kubernetes import config as untyped

    config: Any = untyped

    users, clusters = _users(certificates, tmp_path), _clusters(certificates)
    split = tmp_path / "users"  # in two files, so that merging is compared as well
    split.write_text(yaml.safe_dump({"users": [{"name": name, "user": value} for name, value in users.items()]}))
    rest = {
        "current-context": "other",
        "clusters": [{"name": name, "cluster": value} for name, value in clusters.items()],
        "contexts": [
            {"name": "it", "context": {"cluster": cluster, "user": user} | ({"namespace": namespace} if namespace else {})},
            {"name": "other", "context": {"cluster": "data", "user": "nobody"}},
        ],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(rest))
    files = os.pathsep.join([str(split), str(tmp_path / "config")])

    theirs = client.Configuration()
    config.load_kube_config(config_file=files, context="it", client_configuration=theirs, persist_config=False)
    ours = resolve(KubeFlags(context="it"), environ={"KUBECONFIG": files, "PATH": os.environ["PATH"]})
    authentication = await ours.authenticator.authenticate()

    assert ours.server == theirs.host
    assert authentication.authorization == next(iter(theirs.api_key.values()), "")
    assert (ours.tls.ca or b"") == _content(theirs.ssl_ca_cert)
    assert (authentication.certificate.chain if authentication.certificate else b"") == _content(theirs.cert_file)
    assert (authentication.certificate.key if authentication.certificate else b"") == _content(theirs.key_file)
    assert ours.tls.insecure is not theirs.verify_ssl
    assert ours.tls.server_name == theirs.tls_server_name
    assert ours.proxy_url == theirs.proxy
    contexts, _ = config.list_kube_config_contexts(config_file=files)
    assert ours.namespace == next(item for item in contexts if item["name"] == "it")["context"].get("namespace", "default")


def _content(path: str | None) -> bytes:
    return Path(path).read_bytes() if path else b""
