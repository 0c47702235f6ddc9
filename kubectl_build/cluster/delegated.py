"""Credentials of unusual kinds (auth-provider: oidc, gcp) through the package kubernetes, which takes 0.3 s to import."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from kubectl_build.cluster.authentication import Authentication, ClientCertificate
from kubectl_build.errors import ConfigError


class Delegated:
    """Asks the package kubernetes for the token of `context`; it renews the token and writes a renewed one back to the kubeconfig."""

    def __init__(self, *, paths: tuple[Path, ...], context: str, user: str, certificate: ClientCertificate | None = None) -> None:
        self._paths = paths
        self._context = context
        self._user = user
        self._certificate = certificate
        self._lock = asyncio.Lock()
        self._configuration: Any = None

    async def authenticate(self, *, refused: bool = False) -> Authentication:
        async with self._lock:
            # In a thread: it imports for long, and may ask an identity provider over the network.
            authorization = await asyncio.to_thread(self._ask, refused)
        return Authentication(authorization=authorization, certificate=self._certificate)

    def _ask(self, refused: bool) -> str:
        from kubernetes import client
        from kubernetes.config import load_kube_config

        try:
            if self._configuration is None or refused:
                self._configuration = client.Configuration()
                files = os.pathsep.join(str(path) for path in self._paths)
                load: Any = load_kube_config
                load(config_file=files, context=self._context, client_configuration=self._configuration)
            elif self._configuration.refresh_api_key_hook is not None:
                self._configuration.refresh_api_key_hook(self._configuration)
        except Exception as exc:  # the package raises whatever its own dependencies raise
            raise ConfigError(f'cannot log in as user "{self._user}" with its auth-provider: {type(exc).__name__}: {exc}') from exc
        # The key is "authorization" in older versions and "BearerToken" in newer ones; there is never another.
        token = next(iter(self._configuration.api_key.values()), "")
        if not token:
            hint = "replace the auth-provider in the kubeconfig by an exec plugin (for example kubelogin)"
            raise ConfigError(f'the auth-provider of user "{self._user}" gives no token', hint=hint)
        return str(token)
