"""A CronJob that runs `kubectl buildkit gc` in a namespace, with an account that may do no more than that. Pure."""

from __future__ import annotations

from kubectl_build.builder.names import LABEL_NAME
from kubectl_build.builder.roles import COLLECT, collect_role
from kubectl_build.model.json import JsonObject

_SECONDS = 300
_LABELS = {LABEL_NAME: COLLECT}


def collector_objects(image: str, *, schedule: str = "*/10 * * * *") -> tuple[JsonObject, ...]:
    """The account, its rights and the CronJob, for whatever namespace they are applied to. `image` has kubectl-buildkit in its PATH."""
    metadata = {"name": COLLECT, "labels": _LABELS}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": COLLECT},
        # Without a namespace it is an account of the binding's own, to which kubectl apply -n then need not be told twice.
        "subjects": [{"kind": "ServiceAccount", "name": COLLECT}],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata,
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": _SECONDS,
                    "template": {"metadata": {"labels": _LABELS}, "spec": _pod_spec(image)},
                }
            },
        },
    }
    return account, collect_role(), binding, job


def _pod_spec(image: str) -> JsonObject:
    return {
        "serviceAccountName": COLLECT,
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "gc",
                "image": image,
                "command": ["kubectl-buildkit", "gc"],
                "env": [{"name": "HOME", "value": "/tmp"}],
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # The way to a daemon is a socket in a temporary directory.
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
