"""The files in manifests/, as the renderer makes them. `python -m tests.unit.builder.golden` writes them."""

from __future__ import annotations

from pathlib import Path

from kubectl_build.builder.collector import collector_objects
from kubectl_build.builder.manifests import render, to_yaml
from kubectl_build.builder.names import DEFAULT_BUILDER
from kubectl_build.builder.roles import build_role, create_role, defaults_role, nodes_role, view_role
from kubectl_build.builder.spec import BuilderSpec

DIRECTORY = Path(__file__).parents[3] / "manifests"

_BUILDER = """\
# The builder of security level {level}, with a pool for amd64 and one for arm64: what
#   kubectl buildkit create --platform linux/amd64,linux/arm64 --security {level} --dry-run=client -o yaml
# prints, but for the platforms, which are not fixed here. Delete the StatefulSet of an architecture that the cluster does not have.
# {about}
# The namespace must admit privileged pods, whatever the level:
#   kubectl label namespace NAMESPACE pod-security.kubernetes.io/enforce=privileged
#   kubectl apply -n NAMESPACE -f builder-{level}.yaml
"""
_LEVELS = {
    "userns": "Its pods are privileged in a user namespace only. An API server before Kubernetes 1.33 may drop hostUsers without a word,\n"
    "# and then they are privileged on their node: kubectl get pods -o custom-columns=NAME:.metadata.name,HOST-USERS:.spec.hostUsers",
    "rootless": "Its pods run as an ordinary user who may map ids, without seccomp and AppArmor profiles.",
    "privileged": "Its pods are root on their node. kubectl build takes this level only where neither of the others is possible.",
}

_BUILD = """\
# For people who build with a builder that is there. To give it to a group:
#   kubectl apply -n NAMESPACE -f rbac-build.yaml
#   kubectl create rolebinding kubectl-build -n NAMESPACE --role=kubectl-build --group=GROUP
# A build needs to list pods, and get and create on pods/exec. With the rest it also explains why a pod does not start, tells others who
# builds, and finds the registry secret that is named like the builder. The ClusterRole lets it see the architectures of the nodes:
#   kubectl create clusterrolebinding kubectl-build-nodes --clusterrole=kubectl-build-nodes --group=GROUP
# Whoever may exec in the pods of a namespace can do there what these pods can: builders are best in a namespace of their own.
# Where Karpenter or the cluster autoscaler runs, this rule lets a build ask them to leave its pod alone; it allows more changes of pods:
#   - apiGroups: [""]
#     resources: [pods]
#     verbs: [patch]
"""

_CREATE = """\
# For people who make, change, stop and remove builders, which kubectl build does by itself where there is none. It has all that
# rbac-build.yaml has. Builders may be privileged pods: whoever may make them rules the nodes they run on. To give it to a group:
#   kubectl apply -n NAMESPACE -f rbac-create.yaml
#   kubectl create rolebinding kubectl-buildkit -n NAMESPACE --role=kubectl-buildkit --group=GROUP
# Like people who build, they need the ClusterRole in rbac-build.yaml to see the architectures of the nodes.
"""

_VIEW = """\
# For people who only look: kubectl buildkit ls and inspect, but for what only the daemons know. To give it to a group:
#   kubectl apply -n NAMESPACE -f rbac-view.yaml
#   kubectl create rolebinding kubectl-build-view -n NAMESPACE --role=kubectl-build-view --group=GROUP
"""

_DEFAULTS = """\
# Lets everybody who is logged in read the ConfigMap kubectl-build-defaults in kube-public, which Kubernetes grants to nobody. Apply it
# together with that ConfigMap:
#   kubectl apply -f rbac-defaults.yaml
"""

_COLLECTOR = """\
# Carries out the idle timeouts of a namespace's builders (kubectl buildkit create --idle-timeout 2h) every ten minutes, and deletes the
# Leases of builds whose clients are gone: kubectl buildkit gc. Without it the next command of anybody does the same.
# The image of the container is to be put in: any with this program, so that kubectl-buildkit is in its PATH. It is run as user 65532 with
# a read-only root file system, and needs neither kubectl nor a kubeconfig. From a checkout of this program's repository it is made by
#   python -m tools.release image DIRECTORY && kubectl build DIRECTORY -t REGISTRY/kubectl-build:v1 --push
# Then, with that name in place of the image below:
#   kubectl apply -n NAMESPACE -f gc.yaml
# The account may exec in the namespace's pods, which is how a daemon is asked whether it builds.
"""
_COLLECTOR_IMAGE = "registry.example.com/kubectl-build:v1"


def documents() -> dict[str, str]:
    """The text of every file, by name."""
    builders = {level: render(DEFAULT_BUILDER, "", BuilderSpec(security=level), ("amd64", "arm64")) for level in _LEVELS}
    return {
        **{
            f"builder-{level}.yaml": _BUILDER.format(level=level, about=about) + to_yaml(builders[level].objects)
            for level, about in _LEVELS.items()
        },
        "rbac-build.yaml": _BUILD + to_yaml([build_role(), nodes_role()]),
        "rbac-create.yaml": _CREATE + to_yaml([create_role()]),
        "rbac-view.yaml": _VIEW + to_yaml([view_role()]),
        "rbac-defaults.yaml": _DEFAULTS + to_yaml(defaults_role()),
        "gc.yaml": _COLLECTOR + to_yaml(collector_objects(_COLLECTOR_IMAGE)),
    }


if __name__ == "__main__":
    for name, text in documents().items():
        (DIRECTORY / name).write_text(text)
