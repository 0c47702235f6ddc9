"""The manifest by which krew installs the plugin (krew.googlecontainertools.github.com/v1alpha2). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tools.release.targets import Target

PLUGIN = "buildkit"
"""`build` is another plugin's name in krew's index."""

_SHORT = "Build multi-platform images with BuildKit pods in your cluster"
_DESCRIPTION = """\
Builds a Dockerfile with BuildKit running as pods in your own cluster, for several platforms at once, and pushes one image. It needs no
Docker and no local daemon: what is missing in the cluster is made by the first build. Its flags and results are those of docker buildx.

  kubectl buildkit build . -t registry.example.com/app:1.0 --platform linux/amd64,linux/arm64 --push

Each platform is built where it is fastest: cross-compiled, on a node of its architecture, or under QEMU.
"""
_CAVEATS = """\
krew installs one command: it is `kubectl buildkit build`, where other ways of installing it give `kubectl build` too.
On macOS, Windows and Linux on ARM the plugin needs Python 3.11.
For completion in your shell link the program a second time, to a directory in your PATH:
  ln -s "$(readlink -f "$(command -v kubectl-buildkit)")" ~/.local/bin/kubectl_complete-buildkit
"""


def manifest(version: str, homepage: str, archives: Mapping[Target, tuple[str, str]]) -> str:
    """The text of buildkit.yaml. `version` has no v in front; `archives` are each target's address and SHA-256."""
    document: dict[str, Any] = {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": PLUGIN},
        "spec": {
            "version": f"v{version}",
            "homepage": homepage,
            "shortDescription": _SHORT,
            "description": _DESCRIPTION,
            "caveats": _CAVEATS,
            "platforms": [_platform(target, *found) for target, found in archives.items()],
        },
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=140)


def _platform(target: Target, uri: str, digest: str) -> dict[str, Any]:
    return {
        "selector": {"matchLabels": {"os": target.os, "arch": target.arch}},
        "uri": uri,
        "sha256": digest,
        "files": [{"from": name, "to": "."} for name in files(target)],
        "bin": target.executable,
    }


def files(target: Target) -> Sequence[str]:
    """What krew takes out of the archive."""
    return (target.executable, "_internal" if target.standalone else "lib", *(() if target.standalone else ("launch.py",)), "LICENSE")


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
