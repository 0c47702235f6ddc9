"""A node's processes, containerd and the kubelet, with their configuration."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster import files, host, layout, pki
from tests.cluster.layout import Node
from tests.cluster.processes import Process

TOOLS = ("containerd", "containerd-arm64", "containerd-shim-runc-v2", "ctr", "runc", "cni-plugins", "kubelet")

SIMULATED_ARCH_LABEL = "kubectl-build.invalid/simulated-arch"
"""The label whose value the admission policy makes a node's architecture."""
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def _containerd_config(node: Node, tools: Mapping[str, Path]) -> str:
    runtime = "plugins.'io.containerd.cri.v1.runtime'"
    images = "plugins.'io.containerd.cri.v1.images'"
    unused = [
        "io.containerd.nri.v1.nri",
        *(f"io.containerd.snapshotter.v1.{name}" for name in ("blockfile", "btrfs", "devmapper", "erofs", "zfs")),
        "io.containerd.tracing.processor.v1.otlp",
        "io.containerd.internal.v1.tracing",
    ]
    return f"""version = 3
root = "{node.data}/containerd"
state = "{node.run}/containerd"
disabled_plugins = {unused!r}

[grpc]
address = "{node.containerd_socket}"

[plugins.'io.containerd.internal.v1.opt']
path = "{node.data}/opt"

[plugins.'io.containerd.grpc.v1.cri']
disable_tcp_service = true

[{images}]
snapshotter = "overlayfs"
max_concurrent_downloads = 6

[{images}.pinned_images]
sandbox = "{layout.PAUSE_IMAGE}"

[{images}.registry]
config_path = "{node.run}/certs.d"

[{runtime}]
# A machine without CAP_SYS_RESOURCE cannot lower oom_score_adj, and then no sandbox would start.
restrict_oom_score_adj = true
disable_hugetlb_controller = true
netns_mounts_under_state_dir = true

[{runtime}.cni]
bin_dirs = ["{tools["cni-plugins"]}"]
conf_dir = "{node.run}/cni"
max_conf_num = 1

[{runtime}.containerd]
default_runtime_name = "runc"

[{runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{tools["containerd-shim-runc-v2"]}"

[{runtime}.containerd.runtimes.runc.options]
BinaryName = "{tools["runc"]}"
Root = "{node.run}/runc"
SystemdCgroup = false
"""


def _cni_config(node: Node) -> dict[str, object]:
    return {
        "cniVersion": "1.0.0",
        "name": f"kubectl-build-cluster-{node.name}",
        "plugins": [
            {
                "type": "bridge",
                "bridge": layout.BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": f"{node.run}/ipam",
                    "ranges": [
                        [
                            {
                                "subnet": layout.POD_NETWORK,
                                "rangeStart": node.first_pod_ip,
                                "rangeEnd": node.last_pod_ip,
                                "gateway": layout.HOST_IP,
                            }
                        ]
                    ],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
        ],
    }


def hosts_toml(registry_ca: Path) -> dict[str, str]:
    """Return containerd's hosts.toml for every registry the nodes know, by host.

    The mirrors stand in for their hosts altogether: what they lack is missing at once, instead of after a wait for the internet.
    """

    def one(url: str, extra: str = "") -> str:
        settings = 'capabilities = ["pull", "resolve"]\n' + extra
        return f'server = "{url}"\n{settings}\n[host."{url}"]\n{settings}'

    mirrored = {host: one(f"http://{layout.MIRROR}/v2/{host}", "override_path = true\n") for host in layout.MIRRORED_HOSTS}
    return mirrored | {
        layout.MIRROR: one(f"http://{layout.MIRROR}"),
        layout.INSECURE_REGISTRY: one(f"http://{layout.INSECURE_REGISTRY}"),
        layout.REGISTRY: one(f"https://{layout.REGISTRY}", f'ca = "{registry_ca}"\n'),
    }


def containerd(node: Node, tools: Mapping[str, Path], registry_ca: Path) -> Process:
    """The node's own containerd; that of the simulated node takes the node's architecture for its own."""
    config = files.write(node.run / "containerd.toml", _containerd_config(node, tools))
    files.write_json(node.run / "cni" / "10-bridge.conflist", _cni_config(node))
    for registry, toml in hosts_toml(registry_ca).items():
        files.write(node.run / "certs.d" / registry / "hosts.toml", toml)
    simulated = node.arch != "amd64"
    program = tools["containerd-arm64" if simulated else "containerd"]
    environment = {"PATH": f"{tools['containerd-shim-runc-v2'].parent}:{tools['runc'].parent}:{_SYSTEM_PATH}"}
    if simulated:
        environment["PLATFORM_OF_NODE"] = f"linux/{node.arch}"
    argv = (str(program), f"--config={config}", f"--address={node.containerd_socket}")
    return Process(name=f"containerd-{node.name}", argv=argv, environment=environment, files=(config,))


def import_pause(node: Node, ctr: Path, archive: Path) -> str:
    """Give the node's containerd the sandbox image unless it has it. Returns why that cannot be done yet, which passes soon."""
    images = [str(ctr), f"--address={node.containerd_socket}", "--namespace=k8s.io", "images"]
    listed = subprocess.run([*images, "ls", "-q"], capture_output=True, text=True, check=False)
    if listed.returncode:
        return f"the containerd of {node.name} does not answer: {listed.stderr.strip()}"
    if layout.PAUSE_IMAGE not in listed.stdout.splitlines():
        host.run(*images, "import", "--local", f"--platform=linux/{node.arch}", str(archive))
    return ""


def _kubelet_config(node: Node, keys: Path, resolv_conf: Path) -> dict[str, object]:
    taints = {"registerWithTaints": [{"key": node.taint, "effect": "NoSchedule"}]} if node.taint else {}
    return {
        **taints,
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.HOST_IP,
        "port": node.kubelet_port,
        "healthzPort": 0,
        "readOnlyPort": 0,
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": str(keys / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(keys / f"kubelet-{node.name}-server.crt"),
        "tlsPrivateKeyFile": str(keys / f"kubelet-{node.name}-server.key"),
        "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "clusterDNS": [layout.HOST_IP],
        "clusterDomain": layout.CLUSTER_DOMAIN,
        "resolvConf": str(resolv_conf),
        # Disk pressure on a developer's machine is not this cluster's business.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi"},
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "podLogsDir": f"{node.data}/pod-logs",
        "volumePluginDir": f"{node.data}/volume-plugins",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "nodeStatusUpdateFrequency": "5s",
    }


def kubelet(node: Node, tools: Mapping[str, Path], keys: Path) -> Process:
    """The node's kubelet, with a cgroup root of its own: two of them below one would reap each other's pods."""
    kubeconfig = files.write_json(node.run / "kubelet.kubeconfig", pki.kubeconfig(keys, f"kubelet-{node.name}"))
    resolv_conf = files.write(layout.RUN / "resolv.conf", f"nameserver {layout.HOST_IP}\n")
    config = files.write_json(node.run / "kubelet.yaml", _kubelet_config(node, keys, resolv_conf))
    argv = [
        str(tools["kubelet"]),
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={node.data}/kubelet",
        f"--cert-dir={node.data}/kubelet/pki",
        f"--hostname-override={node.name}",
        f"--node-ip={layout.HOST_IP}",
    ]
    if node.arch != "amd64":
        argv.append(f"--node-labels={SIMULATED_ARCH_LABEL}={node.arch}")
    return Process(name=f"kubelet-{node.name}", argv=tuple(argv), environment={"PATH": _SYSTEM_PATH}, files=(config, kubeconfig))
