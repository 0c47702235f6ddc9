"""The image of the program for CI: built by the program itself, and run as manifests/ci-job.yaml does, inside of the cluster."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.kubectl import Namespace
from tests.e2e.registry import Registry
from tests.standalone import standalone
from tools.release.image import write_context

_MANIFESTS = Path(__file__).parents[2] / "manifests"
_LIBRARIES = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2")

pytestmark = pytest.mark.timeout(400)


def write_base(target: Path) -> None:
    """A base image's files in place of the one in the Dockerfile, which is not on this machine: its C library, and a place for /tmp."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    places = {line.split()[0]: line.rpartition(" => ")[2] for line in listed.splitlines() if "x86-64" in line}
    for name in ("ld-linux-x86-64.so.2", *_LIBRARIES):
        folder = target / ("lib64" if name.startswith("ld-") else "lib/x86_64-linux-gnu")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(places[name], folder / name)
    (target / "tmp").mkdir()
    (target / "workspace").mkdir()


@pytest.fixture(scope="module")
def image(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program's image in the registry, built with `kubectl build`."""
    directory = tmp_path_factory.mktemp("image")
    write_context(standalone(), directory / "context")
    write_base(directory / "base")
    name = f"{namespace.cluster.registry}/{namespace.repository('kubectl-build')}:v1"
    namespace.secret("buildkit")
    base = ("--build-arg", "BASE=base", "--build-context", f"base={directory / 'base'}")
    namespace.kubectl("build", directory / "context", *base, "-t", name, "--push", timeout=300).ok()
    return name


def test_job_in_the_cluster_builds_and_pushes_without_a_kubeconfig(namespace: Namespace, image: str, registry: Registry) -> None:
    repository = namespace.repository("app")
    text = (_MANIFESTS / "ci-job.yaml").read_text()
    text = text.replace("registry.example.com/kubectl-build:v1", image)
    text = text.replace("registry.example.com/app", f"{namespace.cluster.registry}/{repository}")
    assert "example.com" not in "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    kubectl = namespace.kubectl
    kubectl("apply", "-f", _MANIFESTS / "rbac-create.yaml").ok()
    kubectl("apply", "-f", "-", stdin=text).ok()
    pod = ("pod", "-l", "job-name=kubectl-build-ci")
    kubectl("wait", *pod, "--for=create", "--timeout=30s").ok()
    ended = "{.status.containerStatuses[0].state.terminated.exitCode}"
    waited = kubectl("wait", *pod, f"--for=jsonpath={ended}", "--timeout=180s", timeout=200)
    said = kubectl("logs", "job/kubectl-build-ci").stdout
    code = kubectl("get", *pod, "-o", f"jsonpath={{.items[0]{ended[1:]}").stdout
    assert code == "0", f"{waited}\n{said}\n{kubectl('describe', *pod).stdout}"
    assert f"{repository}:v1@sha256:" in said.splitlines()[-1]
    assert registry.image(repository, "v1").files["from"] == b"built in the cluster\n"


def test_job_of_the_manifest_has_no_more_rights_than_a_restricted_pod() -> None:
    (job,) = [item for item in yaml.safe_load_all((_MANIFESTS / "ci-job.yaml").read_text()) if item["kind"] == "Job"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_image_has_all_programs(namespace: Namespace, image: str) -> None:
    kubectl = namespace.kubectl
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "programs"},
        "spec": {
            "restartPolicy": "Never",
            "imagePullSecrets": [{"name": "buildkit"}],
            "containers": [
                {"name": name.replace("_", "-"), "image": image, "command": [f"/usr/local/bin/{name}"], "args": args}
                for name, args in (
                    ("kubectl-build", ["--help"]),
                    ("kubectl-buildkit", ["build", "--help"]),
                    ("kubectl_complete-build", ["--progress", "raw"]),
                    ("kubectl_complete-buildkit", ["ls", "-o", "js"]),
                )
            ],
        },
    }
    kubectl.apply(pod)
    kubectl("wait", "pod/programs", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s", timeout=100).ok()
    assert "Usage: kubectl build " in kubectl("logs", "programs", "-c", "kubectl-build").ok().stdout
    assert "Usage: kubectl buildkit build " in kubectl("logs", "programs", "-c", "kubectl-buildkit").ok().stdout
    assert kubectl("logs", "programs", "-c", "kubectl-complete-build").ok().stdout == "rawjson\n:4\n"
    assert kubectl("logs", "programs", "-c", "kubectl-complete-buildkit").ok().stdout == "json\n:4\n"
