"""Keys and certificates: the cluster's authority and what each component shows. Made once per checkout, with openssl."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import layout
from tests.cluster.say import Trouble

_DAYS = "3650"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One leaf: names are `IP:` and `DNS:` alternative names, for servers."""

    file: str
    subject: str
    names: tuple[str, ...] = ()


_API_NAMES = (
    f"IP:{layout.HOST_IP}",
    f"IP:{layout.KUBERNETES_SERVICE_IP}",
    "IP:127.0.0.1",
    "DNS:localhost",
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    f"DNS:kubernetes.default.svc.{layout.CLUSTER_DOMAIN}",
)


def of_node(node: layout.Node) -> tuple[Certificate, Certificate]:
    """What a kubelet shows to the API server, and what it shows to those who call it."""
    names = (f"IP:{layout.HOST_IP}", f"DNS:{node.name}")
    return (
        Certificate(file=f"kubelet-{node.name}", subject=f"/O=system:nodes/CN=system:node:{node.name}"),
        Certificate(file=f"kubelet-{node.name}-server", subject=f"/CN={node.name}", names=names),
    )


CERTIFICATES = (
    Certificate(file="apiserver", subject="/CN=kube-apiserver", names=_API_NAMES),
    Certificate(file="apiserver-kubelet-client", subject="/O=system:masters/CN=kube-apiserver-kubelet-client"),
    Certificate(file="admin", subject="/O=system:masters/CN=kubernetes-admin"),
    Certificate(file="controller-manager", subject="/CN=system:kube-controller-manager"),
    Certificate(file="scheduler", subject="/CN=system:kube-scheduler"),
    Certificate(file="proxy", subject="/CN=system:kube-proxy"),
    Certificate(file="coredns", subject="/CN=system:coredns"),
    *(certificate for node in layout.NODES for certificate in of_node(node)),
)


def _openssl(*argv: str) -> None:
    done = subprocess.run(["openssl", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"openssl {argv[0]} failed: {done.stderr.strip()}")


def _new_key(file: str) -> Sequence[str]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file)


def make(directory: Path, certificates: Sequence[Certificate] = CERTIFICATES) -> None:
    """Make whatever is missing in `directory`: NAME.crt and NAME.key of `ca` and of each leaf, and the service account key `sa.key`."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    if not (directory / "ca.crt").exists():
        subject = ("-subj", "/CN=kubectl-build-cluster", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl("req", "-x509", *_new_key(f"{directory}/ca.key"), "-days", _DAYS, *subject, "-out", f"{directory}/ca.crt")
    if not (directory / "sa.key").exists():
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", str(directory / "sa.key"))
        _openssl("pkey", "-in", str(directory / "sa.key"), "-pubout", "-out", str(directory / "sa.pub"))
    for certificate in certificates:
        if not (directory / f"{certificate.file}.crt").exists():
            _sign(directory, certificate)


def _sign(directory: Path, leaf: Certificate) -> None:
    base = directory / leaf.file
    extensions = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "extendedKeyUsage=clientAuth,serverAuth"]
    if leaf.names:
        extensions.append(f"subjectAltName={','.join(leaf.names)}")
    base.with_name(f"{leaf.file}.ext").write_text("\n".join(extensions) + "\n")
    _openssl("req", "-new", *_new_key(f"{base}.key"), "-subj", leaf.subject, "-out", f"{base}.csr")
    signed = ("-CA", f"{directory}/ca.crt", "-CAkey", f"{directory}/ca.key", "-CAcreateserial", "-days", _DAYS, "-extfile", f"{base}.ext")
    _openssl("x509", "-req", "-in", f"{base}.csr", *signed, "-out", f"{base}.crt")
    for suffix in (".csr", ".ext"):
        Path(f"{base}{suffix}").unlink()


def kubeconfig(directory: Path, user: str) -> dict[str, object]:
    """Return a kubeconfig as a value, with paths of the certificates `user.crt` and `user.key`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "kubectl-build",
                "cluster": {"server": f"https://{layout.HOST_IP}:{layout.API_PORT}", "certificate-authority": str(directory / "ca.crt")},
            }
        ],
        "users": [{"name": user, "user": {"client-certificate": f"{directory}/{user}.crt", "client-key": f"{directory}/{user}.key"}}],
        "contexts": [{"name": "kubectl-build", "context": {"cluster": "kubectl-build", "user": user}}],
        "current-context": "kubectl-build",
    }


def inline_kubeconfig(directory: Path, user: str) -> dict[str, object]:
    """Return a kubeconfig like `kubeconfig`, with the certificates themselves in it."""

    def data(file: str) -> str:
        return base64.b64encode((directory / file).read_bytes()).decode()

    cluster = {"server": f"https://{layout.HOST_IP}:{layout.API_PORT}", "certificate-authority-data": data("ca.crt")}
    client = {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")}
    return kubeconfig(directory, user) | {
        "clusters": [{"name": "kubectl-build", "cluster": cluster}],
        "users": [{"name": user, "user": client}],
    }
