"""Base images that hold files only: gcr.io/distroless/static and the Windows base image's stand-in."""

from __future__ import annotations

from tests.cluster.images import busybox
from tests.cluster.images.layers import Tree
from tests.cluster.images.oci import Image, Layout, Platform
from tests.cluster.images.recipe import Kitchen

_NONROOT = 65532
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_WINDOWS = Platform("windows", "amd64", os_version="10.0.17763.8027")


def make_distroless(kitchen: Kitchen, layout: Layout) -> None:
    """The same small tree for every platform: no shell, no libraries, only what static programs look up."""
    tree = Tree()
    tree.file("/etc/passwd", f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{_NONROOT}:{_NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n")
    tree.file("/etc/group", f"root:x:0:\nnonroot:x:{_NONROOT}:\n")
    tree.file("/etc/nsswitch.conf", "hosts: files dns\n")
    tree.file("/etc/os-release", 'NAME="distroless"\nID=distroless\nPRETTY_NAME="distroless (stand-in)"\n')
    tree.file(_CERTIFICATES, busybox.ca_certificates(kitchen.packages))
    tree.directory("/root", mode=0o700)
    tree.directory("/home/nonroot", mode=0o700, owner=_NONROOT)
    tree.directory("/tmp", mode=0o1777)
    layer = layout.layer(tree)
    for tags, user, home in ((("nonroot",), str(_NONROOT), "/home/nonroot"), (("latest",), "0", "/")):
        config = {"Env": [f"PATH={busybox.PATH}", f"SSL_CERT_FILE={_CERTIFICATES}"], "User": user, "WorkingDir": home}
        platforms = [Platform.parse(text) for text in busybox.PLATFORMS]
        layout.add("gcr.io/distroless/static", tags, [Image(platform=platform, layers=[layer], config=config) for platform in platforms])


def make_nanoserver(_kitchen: Kitchen, layout: Layout) -> None:
    """A Windows layer with next to nothing in it: files are under Files/, the registry's hives under Hives/."""
    tree = Tree()
    tree.directory("/Hives")
    tree.directory("/Files/Windows/System32")
    tree.file("/Files/License.txt", "This is the local test cluster's stand-in for the Windows base image. It holds nothing of Windows.\n")
    config = {"Cmd": ["c:\\windows\\system32\\cmd.exe"], "User": "ContainerUser"}
    image = Image(platform=_WINDOWS, layers=[layout.layer(tree)], config=config)
    layout.add("mcr.microsoft.com/windows/nanoserver", ("1809",), [image])
