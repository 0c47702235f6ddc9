"""What the daemon may ask of a client, served inside Control.Session: a gRPC server on h2 and the services on it.

As a library (docs/library.md) it is what `__all__` names; the modules behind it are imported when a name is first used. A service of one's
own is an Attachable: method names and what answers them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubectl_build.session.auth import Auth
    from kubectl_build.session.content import ContentStores
    from kubectl_build.session.filesend import DirTarget, FileSend, FileTarget
    from kubectl_build.session.filesync import FileSync, LocalDir
    from kubectl_build.session.rpc import Attachable, RpcError
    from kubectl_build.session.secrets import Secrets
    from kubectl_build.session.session import Session
    from kubectl_build.session.ssh_agents import open_agents
    from kubectl_build.session.stream import ServerStream
    from kubectl_build.session.upload import Upload

__all__ = [
    "Attachable",
    "Auth",
    "ContentStores",
    "DirTarget",
    "FileSend",
    "FileSync",
    "FileTarget",
    "LocalDir",
    "RpcError",
    "Secrets",
    "ServerStream",
    "Session",
    "Upload",
    "open_agents",
]

_HOMES = {
    "auth": ("Auth",),
    "content": ("ContentStores",),
    "filesend": ("DirTarget", "FileSend", "FileTarget"),
    "filesync": ("FileSync", "LocalDir"),
    "rpc": ("Attachable", "RpcError"),
    "secrets": ("Secrets",),
    "session": ("Session",),
    "ssh_agents": ("open_agents",),
    "stream": ("ServerStream",),
    "upload": ("Upload",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
