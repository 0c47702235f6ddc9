"""The Kubernetes API as the cluster's own commands need it: a few verbs on plain values, as the administrator."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import layout
from tests.cluster.say import Trouble

_FIELD_MANAGER = "kubectl-build-cluster"


class Unreachable(Exception):
    """The API server does not answer, or not yet as it should."""


class Api:
    """Calls the API server with the certificates of `keys`; one connection a call, so it survives a restarted server."""

    def __init__(self, keys: Path, user: str = "admin", timeout_s: float = 5.0) -> None:
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        self._tls.load_cert_chain(keys / f"{user}.crt", keys / f"{user}.key")

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> tuple[int, bytes]:
        """Return status and body of one request; raises Unreachable."""
        connection = http.client.HTTPSConnection(layout.HOST_IP, layout.API_PORT, timeout=self._timeout_s, context=self._tls)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, body=data, headers={"Content-Type": kind, "Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise Unreachable(f"the API server does not answer: {exc}") from exc
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the object or list at `path`, None when there is none; raises Unreachable for any other refusal."""
        status, body = self.call("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise Unreachable(f"GET {path}: status {status}: {body[:300].decode(errors='replace')}")
        return json.loads(body)

    def ready(self) -> bool:
        """Whether the API server says that it is."""
        try:
            return self.call("GET", "/readyz")[0] == 200
        except Unreachable:
            return False

    def apply(self, path: str, value: Mapping[str, Any]) -> None:
        """Make the object at `path` be `value` (server-side apply)."""
        query = f"?fieldManager={_FIELD_MANAGER}&force=true"
        status, body = self.call("PATCH", path + query, value, "application/apply-patch+yaml")
        if status not in {200, 201}:
            raise Unreachable(f"apply {path}: status {status}: {body[:500].decode(errors='replace')}")

    def delete(self, path: str) -> None:
        """Delete the object at `path` at once; none there is fine."""
        status, body = self.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
        if status not in {200, 202, 404}:
            raise Unreachable(f"delete {path}: status {status}: {body[:300].decode(errors='replace')}")


def wait(condition: Callable[[], str], timeout_s: float, hint: str) -> None:
    """Ask `condition` until it returns no reason to wait; raises Trouble with the last reason and the hint after the timeout."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            reason = condition()
        except Unreachable as exc:
            reason = str(exc)
        if not reason:
            return
        if time.monotonic() > deadline:
            raise Trouble(f"{reason}, after {timeout_s:.0f} s; {hint}")
        time.sleep(0.1)
