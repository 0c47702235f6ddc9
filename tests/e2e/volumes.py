"""PersistentVolumes for claims: directories of this machine, which is the cluster's node too."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.kubectl import Kubectl


@contextmanager
def volumes(kubectl: Kubectl, count: int = 1) -> Iterator[str]:
    """The storage class of so many volumes of 4Gi, each for one claim; they and their directories go in the end."""
    name = f"volume-{uuid.uuid4().hex[:6]}"
    made = {f"{name}-{number}": Path(tempfile.mkdtemp(prefix="kubectl-build-volume-")) for number in range(count)}
    for volume, directory in made.items():
        directory.chmod(0o777)  # a rootless daemon is not root, and fsGroup does nothing for a hostPath
        spec = {
            "capacity": {"storage": "4Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
            "hostPath": {"path": str(directory), "type": "Directory"},
        }
        kubectl.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": spec})
    yield name
    kubectl("delete", "pv", *made, "--wait=false").ok()
    for directory in made.values():
        shutil.rmtree(directory, ignore_errors=True)
