"""Names, labels and annotations by which a builder's objects are found. What is written here is a contract with clusters in use."""

from __future__ import annotations

import re

from kubectl_build.errors import UsageError

DEFAULT_BUILDER = "buildkit"
CONTAINER = "buildkitd"
INIT_CONTAINER = "binfmt"
FIELD_MANAGER = "kubectl-build"

LABEL_NAME = "app.kubernetes.io/name"
LABEL_INSTANCE = "app.kubernetes.io/instance"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_ARCHITECTURE = "kubectl-build/architecture"
"""The pool that a StatefulSet or pod belongs to: a value of kubernetes.io/arch."""

ANNOTATION_CONFIG_HASH = "kubectl-build/config-hash"
"""On the pod template: tells pods of an earlier configuration from those of the present one."""
ANNOTATION_PLATFORMS = "kubectl-build/platforms"
"""On pods: the platforms that `create --platform` fixed, with commas, for users who may read pods only."""
ANNOTATION_SECURITY = "kubectl-build/security"
"""On pods: the security level the builder was made with."""

ANNOTATION_LAST_USED = "kubectl-build/last-used"
"""On StatefulSets: when a client last began a build there, by its own clock."""
ANNOTATION_POD = "kubectl-build/pod"
ANNOTATION_BUILD_PLATFORMS = "kubectl-build/build-platforms"
ANNOTATION_CONTEXT = "kubectl-build/context"
"""On Leases of builds: the pod that builds, for which platforms, and what the build's context is called."""

ANNOTATION_KEPT = "kubectl-build/kept-for-builds"
"""On pods, while builds of some length run there: this program has asked the autoscalers to leave them."""

_MAX_NAME = 40
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def check_builder_name(name: str) -> str:
    """Return `name` when objects can be named after it. Raises UsageError.

    A pool's StatefulSet is `<name>-<architecture>`, and Kubernetes puts that name with a hash into labels of at most 63 characters.
    """
    if len(name) > _MAX_NAME:
        raise UsageError(f'builder name "{name}" is not valid: it is longer than {_MAX_NAME} characters')
    if not _NAME.fullmatch(name):
        raise UsageError(f'builder name "{name}" is not valid: it may have lower-case letters, digits and "-", but no "-" at its ends')
    return name


def pool_name(builder: str, architecture: str) -> str:
    """The name of the StatefulSet of one pool."""
    return f"{builder}-{architecture}"


def certificates_name(builder: str) -> str:
    """The name of the Secret with the registries' certificates and keys."""
    return f"{builder}-certs"


def labels(builder: str, architecture: str = "") -> dict[str, str]:
    """The labels that every object of a builder has; those of a pool say its architecture too."""
    result = {LABEL_NAME: "buildkit", LABEL_INSTANCE: builder, LABEL_MANAGED_BY: "kubectl-build"}
    if architecture:
        result[LABEL_ARCHITECTURE] = architecture
    return result


def selector(builder: str = "", architecture: str = "") -> str:
    """The label selector of one builder's objects, or of every builder's when `builder` is empty."""
    wanted = labels(builder, architecture)
    return ",".join(f"{key}={value}" for key, value in wanted.items() if value)
