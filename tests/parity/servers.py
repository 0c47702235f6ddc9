"""What builds fetch over the network: files and git repositories over http, from the machine's address that pods reach."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.cluster import layout

_GIT_SECONDS = 30


class _Handler(SimpleHTTPRequestHandler):
    """Serves a directory; what is below a `.git` is git's own smart protocol. `login` is "user:password", or "" for everybody."""

    def __init__(self, *args: Any, login: str = "", **more: Any) -> None:
        self._header = "Basic " + base64.b64encode(login.encode()).decode() if login else ""
        super().__init__(*args, **more)

    def _refused(self) -> bool:
        given = self.headers.get("Authorization", "")
        if not self._header or given.partition(" ")[2] == self._header.partition(" ")[2]:
            return False
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="files"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def do_GET(self) -> None:
        if self._refused():
            return
        if ".git/" in self.path:
            self._git(b"")
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._refused():
            self._git(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _git(self, body: bytes) -> None:
        """Answer as CGI does, by git's own http-backend."""
        url = urlsplit(self.path)
        variables = os.environ | {
            "GIT_PROJECT_ROOT": self.directory,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "PATH_INFO": unquote(url.path),
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": self.client_address[0],
        }
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_GIT_SECONDS,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        status = next((int(value.split()[0]) for name, value in fields if name == "Status"), 200)
        self.send_response(status if done.stdout else 500)
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(directory: Path, *, login: str = "") -> Iterator[str]:
    """Serve a directory until the block ends; yields its URL, which builder pods reach too. `login` is "user:password", for all of it."""
    server = ThreadingHTTPServer((layout.HOST_IP, 0), partial(_Handler, directory=str(directory), login=login))
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    try:
        yield f"http://{layout.HOST_IP}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def agent(directory: Path) -> Iterator[Path]:
    """Run an ssh agent with one key until the block ends; yields its socket. The key's comment is "agent's key"."""
    socket, key = directory / "agent.sock", directory / "agent.key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "agent's key", "-f", key], check=True, timeout=10)
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it says where it listens when it does
            added = os.environ | {"SSH_AUTH_SOCK": str(socket)}
            subprocess.run(["ssh-add", "-q", key], env=added, check=True, timeout=10)
            yield socket
        finally:
            process.terminate()
