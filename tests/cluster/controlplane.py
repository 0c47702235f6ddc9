"""The control plane's processes: etcd, API server, controller manager, scheduler, service proxy, DNS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.cluster import files, layout, pki
from tests.cluster.processes import Process

TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "nft")

_ETCD_URL = f"http://127.0.0.1:{layout.ETCD_PORT}"
_PEER_URL = f"http://127.0.0.1:{layout.ETCD_PEER_PORT}"


def etcd(tools: Mapping[str, Path]) -> Process:
    """The store; without fsync, since a cluster for tests may be lost with the machine's power."""
    argv = (
        str(tools["etcd"]),
        "--name=default",
        f"--data-dir={layout.DATA}/etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={_ETCD_URL}",
        f"--advertise-client-urls={_ETCD_URL}",
        f"--listen-peer-urls={_PEER_URL}",
        f"--initial-advertise-peer-urls={_PEER_URL}",
        f"--initial-cluster=default={_PEER_URL}",
        "--quota-backend-bytes=4294967296",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
        "--logger=zap",
        "--log-level=warn",
    )
    return Process(name="etcd", argv=argv)


def apiserver(tools: Mapping[str, Path], keys: Path) -> Process:
    """The API server, with the admission feature by which arm64-0 is believed to be one."""
    argv = (
        str(tools["kube-apiserver"]),
        f"--etcd-servers={_ETCD_URL}",
        f"--bind-address={layout.HOST_IP}",
        f"--advertise-address={layout.HOST_IP}",
        f"--secure-port={layout.API_PORT}",
        f"--cert-dir={layout.RUN}",
        f"--tls-cert-file={keys}/apiserver.crt",
        f"--tls-private-key-file={keys}/apiserver.key",
        f"--client-ca-file={keys}/ca.crt",
        f"--service-cluster-ip-range={layout.SERVICE_NETWORK}",
        f"--service-account-issuer=https://kubernetes.default.svc.{layout.CLUSTER_DOMAIN}",
        f"--service-account-key-file={keys}/sa.pub",
        f"--service-account-signing-key-file={keys}/sa.key",
        f"--kubelet-certificate-authority={keys}/ca.crt",
        f"--kubelet-client-certificate={keys}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={keys}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP,Hostname",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--event-ttl=1h",
        "--profiling=false",
    )
    return Process(name="kube-apiserver", argv=argv, files=(keys / "apiserver.crt",))


def controller_manager(tools: Mapping[str, Path], keys: Path) -> Process:
    """All of the ordinary controllers; pods get their addresses from the CNI plugin, not from here."""
    kubeconfig = files.write_json(layout.RUN / "controller-manager.kubeconfig", pki.kubeconfig(keys, "controller-manager"))
    argv = (
        str(tools["kube-controller-manager"]),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={layout.HOST_IP}",
        f"--secure-port={layout.CONTROLLER_MANAGER_PORT}",
        f"--cert-dir={layout.RUN}/controller-manager",
        f"--root-ca-file={keys}/ca.crt",
        f"--service-account-private-key-file={keys}/sa.key",
        f"--cluster-signing-cert-file={keys}/ca.crt",
        f"--cluster-signing-key-file={keys}/ca.key",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
    )
    return Process(name="kube-controller-manager", argv=argv, files=(kubeconfig,))


def scheduler(tools: Mapping[str, Path], keys: Path) -> Process:
    kubeconfig = files.write_json(layout.RUN / "scheduler.kubeconfig", pki.kubeconfig(keys, "scheduler"))
    argv = (
        str(tools["kube-scheduler"]),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={layout.HOST_IP}",
        f"--secure-port={layout.SCHEDULER_PORT}",
        f"--cert-dir={layout.RUN}/scheduler",
        "--leader-elect=false",
    )
    return Process(name="kube-scheduler", argv=argv, files=(kubeconfig,))


def proxy(tools: Mapping[str, Path], keys: Path) -> Process:
    """One kube-proxy: both nodes are one kernel. It keeps to one nftables table, which `down` removes."""
    kubeconfig = files.write_json(layout.RUN / "proxy.kubeconfig", pki.kubeconfig(keys, "proxy"))
    config = files.write_json(
        layout.RUN / "proxy.yaml",
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "mode": "nftables",
            # Client and endpoint may be two ports of the one bridge: without masquerading the answer would not pass here again.
            "nftables": {"masqueradeAll": True},
            "clusterCIDR": layout.POD_NETWORK,
            "hostnameOverride": layout.NODES[0].name,
            "healthzBindAddress": f"{layout.HOST_IP}:{layout.PROXY_HEALTH_PORT}",
            "metricsBindAddress": f"{layout.HOST_IP}:{layout.PROXY_METRICS_PORT}",
            "nodePortAddresses": [f"{layout.HOST_IP}/32"],
            "oomScoreAdj": 0,
            # Zero leaves the machine's own connection tracking limits alone.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        },
    )
    path = f"{tools['nft'].parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    return Process(
        name="kube-proxy", argv=(str(tools["kube-proxy"]), f"--config={config}"), environment={"PATH": path}, files=(config, kubeconfig)
    )


def dns(tools: Mapping[str, Path], keys: Path) -> Process:
    """CoreDNS on the bridge: the cluster's own names, and NXDOMAIN at once for all others, since no test may depend on the internet."""
    kubeconfig = files.write_json(layout.RUN / "coredns.kubeconfig", pki.kubeconfig(keys, "coredns"))
    config = files.write(
        layout.RUN / "Corefile",
        f"""{layout.CLUSTER_DOMAIN} 77.10.in-addr.arpa 78.10.in-addr.arpa {{
    bind {layout.HOST_IP}
    errors
    health {layout.HOST_IP}:{layout.DNS_HEALTH_PORT}
    kubernetes {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
}}
. {{
    bind {layout.HOST_IP}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
""",
    )
    return Process(name="coredns", argv=(str(tools["coredns"]), "-conf", str(config)), files=(config, kubeconfig))
