"""A root file system around Debian's static busybox, and the images that are little more: busybox and the stand-in for alpine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.images.layers import Tree
from tests.cluster.images.oci import Image, Layout, Platform
from tests.cluster.images.recipe import Kitchen

# Debian's architecture for each platform. armel is built for ARMv5TE, so v5 is what its entry honestly says; containerd's matcher
# gives it to linux/arm/v6 as the best that is there, as it does with Debian's own images.
PLATFORMS = {
    "linux/amd64": "amd64",
    "linux/386": "i386",
    "linux/arm/v5": "armel",
    "linux/arm/v7": "armhf",
    "linux/arm64/v8": "arm64",
    "linux/ppc64le": "ppc64el",
    "linux/s390x": "s390x",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NO_PACKAGES = """#!/bin/sh
echo "apk: this image is the local test cluster's stand-in for alpine (busybox only); there are no packages to install here" >&2
exit 1
"""


def rootfs(packages: Path, architecture: str) -> Tree:
    """A tree with /bin/busybox for one of Debian's architectures, its applets as links, and the usual files and directories."""
    tree = Tree()
    tree.file("/bin/busybox", packages / f"busybox-static_{architecture}" / "bin" / "busybox", mode=0o755)
    for applet in _applets(packages):
        tree.symlink(f"/bin/{applet}", "busybox")
    for folder in ("/dev", "/etc", "/home", "/proc", "/root", "/run", "/sbin", "/sys", "/usr/bin", "/usr/sbin", "/var"):
        tree.directory(folder, mode=0o700 if folder == "/root" else 0o755)
    for folder in ("/tmp", "/var/tmp"):
        tree.directory(folder, mode=0o1777)
    tree.symlink("/usr/bin/env", "../../bin/busybox")
    tree.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n")
    tree.file("/etc/group", "root:x:0:\nnobody:x:65534:\n")
    tree.file("/etc/nsswitch.conf", "hosts: files dns\n")
    return tree


def add_alpine(tree: Tree, version: str) -> None:
    """Make a busybox tree say that it is alpine, with an apk that says why it cannot help."""
    tree.file("/etc/alpine-release", f"{version}.0\n")
    pretty = f"Alpine Linux v{version} (stand-in)"
    tree.file("/etc/os-release", f'NAME="Alpine Linux"\nID=alpine\nVERSION_ID={version}.0\nPRETTY_NAME="{pretty}"\n')
    tree.file("/sbin/apk", _NO_PACKAGES, mode=0o755)


def ca_certificates(packages: Path) -> bytes:
    """Debian's bundle of root certificates, not this machine's: that one may have what only this machine trusts."""
    folder = packages / "ca-certificates_all" / "usr" / "share" / "ca-certificates" / "mozilla"
    return b"".join(certificate.read_bytes() for certificate in sorted(folder.glob("*.crt")))


def make_busybox(kitchen: Kitchen, layout: Layout) -> None:
    images = [
        Image(
            platform=Platform.parse(platform),
            layers=[layout.layer(rootfs(kitchen.packages, architecture))],
            config={"Env": [f"PATH={PATH}"], "Cmd": ["sh"]},
        )
        for platform, architecture in PLATFORMS.items()
    ]
    layout.add("docker.io/library/busybox", ("latest", "1", "1.36", "stable"), images)


def make_alpine(kitchen: Kitchen, layout: Layout) -> None:
    for version, tags in (("3.12", ("3.12",)), ("3.15", ("3.15",)), ("3.20", ("3.20", "3", "latest"))):
        layout.add("docker.io/library/alpine", tags, _alpine_images(kitchen, layout, version))


def _alpine_images(kitchen: Kitchen, layout: Layout, version: str) -> Iterable[Image]:
    for platform, architecture in PLATFORMS.items():
        tree = rootfs(kitchen.packages, architecture)
        add_alpine(tree, version)
        config = {"Env": [f"PATH={PATH}"], "Cmd": ["/bin/sh"], "WorkingDir": "/"}
        yield Image(platform=Platform.parse(platform), layers=[layout.layer(tree)], config=config)


def _applets(packages: Path) -> list[str]:
    """The names that busybox answers to. Only this machine's own can be asked; Debian builds all with one configuration."""
    busybox = packages / "busybox-static_amd64" / "bin" / "busybox"
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=30).stdout
    return sorted(name for name in listed.split() if re.fullmatch(r"[\w\[.-]+", name) and name != "busybox")
