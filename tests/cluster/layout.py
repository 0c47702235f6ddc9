"""Where everything of the local cluster is: versions, addresses, ports, names and paths.

One cluster a machine, so all of it is fixed but the checkout and the cache. What is needed to stop a cluster is under RUN alone: the
checkout that started it may be gone by then.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

KUBERNETES_VERSION = "v1.34.4"
BUILDKIT_VERSION = "v0.31.2"
BUILDX_VERSION = "v0.35.0"
CONTAINERD_VERSION = "v2.1.6"
RUNC_VERSION = "v1.4.2"
COREDNS_VERSION = "v1.12.4"
ROOTLESSKIT_VERSION = "v3.0.1"

BRIDGE = "kbc0"
HOST_IP = "10.77.0.1"
"""The machine's address on the bridge: API server, registries, DNS and both kubelets listen here."""
POD_NETWORK = "10.77.0.0/16"
SERVICE_NETWORK = "10.78.0.0/16"
KUBERNETES_SERVICE_IP = "10.78.0.1"
CLUSTER_DOMAIN = "cluster.local"

API_PORT = 6443
ETCD_PORT = 23790
ETCD_PEER_PORT = 23791
CONTROLLER_MANAGER_PORT = 10257
SCHEDULER_PORT = 10259
PROXY_HEALTH_PORT = 10256
PROXY_METRICS_PORT = 10249
DNS_HEALTH_PORT = 8053

REGISTRY_PORT = 5443
INSECURE_REGISTRY_PORT = 5080
MIRROR_PORT = 5081
REGISTRY = f"{HOST_IP}:{REGISTRY_PORT}"
INSECURE_REGISTRY = f"{HOST_IP}:{INSECURE_REGISTRY_PORT}"
MIRROR = f"{HOST_IP}:{MIRROR_PORT}"
REGISTRY_USER = "builder"
REGISTRY_PASSWORD = "builder-password"
MIRRORED_HOSTS = ("docker.io", "gcr.io", "mcr.microsoft.com")

PAUSE_IMAGE = "kubectl-build.invalid/pause:1"
"""The name under which every node's containerd has the sandbox image imported."""
BUILDKIT_IMAGE = f"docker.io/moby/buildkit:{BUILDKIT_VERSION}"

RUN = Path("/run/kubectl-build-cluster")
DATA = RUN / "data"
"""A bind mount of the owner's `.cluster/data`: short fixed paths, for unix sockets have at most 107 characters."""
OWNER_FILE = RUN / "owner"
TESTS_LOCK_FILE = RUN / "lock.tests"
CGROUP = "kubectl-build-cluster"

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One kubelet with its own containerd on this machine; arch is what the cluster believes."""

    name: str
    arch: str
    kubelet_port: int
    first_pod_ip: str
    last_pod_ip: str
    taint: str = ""
    """Key of a NoSchedule taint that it registers with; empty for none."""

    @property
    def run(self) -> Path:
        return RUN / self.name

    @property
    def data(self) -> Path:
        return DATA / self.name

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def cgroup(self) -> str:
        return f"{CGROUP}/{self.name}"


NODES = (
    Node(name="amd64-0", arch="amd64", kubelet_port=10250, first_pod_ip="10.77.16.1", last_pod_ip="10.77.31.254"),
    Node(name="arm64-0", arch="arm64", kubelet_port=10251, first_pod_ip="10.77.32.1", last_pod_ip="10.77.47.254"),
)

SPARE = Node(
    name="spare-0",
    arch="amd64",
    kubelet_port=10252,
    first_pod_ip="10.77.48.1",
    last_pod_ip="10.77.63.254",
    taint="kubectl-build.invalid/spare",
)
"""Not of the cluster: a test that breaks a node starts it for itself. The taint keeps everybody else's pods away."""


def cache() -> Path:
    """The directory for binaries and images, shared by every checkout of this user."""
    named = os.environ.get("KB_CLUSTER_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "kubectl-build-cluster"


@dataclass(frozen=True, slots=True)
class State:
    """The paths below a checkout's `.cluster/`."""

    root: Path

    @property
    def data(self) -> Path:
        """What a cluster remembers; gone after `down`. Running processes see it as DATA."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def env(self) -> Path:
        """To be sourced by a shell."""
        return self.root / "env"

    @property
    def programs(self) -> Path:
        """Links to kubectl and what else a user of the cluster calls; first in the PATH of `env`."""
        return self.root / "bin"

    @property
    def registries(self) -> Path:
        """Settings, keys and passwords of the registries; their contents are in `data`."""
        return self.root / "registries"


STATE = State(CHECKOUT / ".cluster")
