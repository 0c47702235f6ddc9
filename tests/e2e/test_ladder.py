"""Going down the security ladder: which pools do, which never, and what becomes of their claims."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubectl import Namespace
from tests.e2e.test_security import AMD64, levels, other, picky, pod
from tests.e2e.volumes import volumes

__all__ = ["other", "picky"]

Context = Callable[..., Path]
STEPLESS = "FROM scratch\nCOPY Dockerfile /\n"


def claims(namespace: Namespace) -> dict[str, str]:
    """The uids of the claims there are."""
    found = namespace.kubectl("get", "pvc", "-o", "json").json()["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in found}


def test_pool_that_create_made_without_waiting_goes_down_at_the_first_build(other: Namespace, picky: str, context: Context) -> None:
    other.kubectl("buildkit", "create", "buildkit", AMD64, f"--image={picky}", "--replicas=1").ok()
    assert levels(other, "buildkit") == "userns"

    result = other.kubectl("build", context({"Dockerfile": STEPLESS}), AMD64, "--progress=plain").ok()

    assert "pool amd64 cannot start with security userns: " in result.stderr, str(result)
    assert "pool amd64 cannot start with security rootless: " in result.stderr
    assert levels(other, "buildkit") == "privileged"


def test_pool_that_is_applied_by_others_stays_what_it_is(other: Namespace, picky: str, context: Context) -> None:
    flags = (AMD64, f"--image={picky}", "--dry-run=client", "-o", "yaml")
    objects = other.kubectl("buildkit", "create", "buildkit", *flags).ok().stdout
    other.kubectl("apply", "-f", "-", stdin=objects).ok()

    result = other.kubectl("build", context({"Dockerfile": STEPLESS}), AMD64)

    result.failed(4, "operation not permitted", "kubectl buildkit create buildkit --security rootless")
    assert levels(other, "buildkit") == "userns"


def test_pool_whose_pod_is_not_the_first_stays_what_it_is(other: Namespace, picky: str, context: Context) -> None:
    """A builder that people may have used: its image has been changed since."""
    other.kubectl("buildkit", "create", "buildkit", AMD64, "--bootstrap").ok()
    other.kubectl("buildkit", "create", "buildkit", f"--image={picky}").ok()

    result = other.kubectl("build", context({"Dockerfile": STEPLESS}), AMD64)

    result.failed(4, "kubectl buildkit create buildkit --security rootless")
    assert levels(other, "buildkit") == "userns"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("keep", [True, False])
def test_pool_with_a_claim_goes_down_and_its_cache_is_there(other: Namespace, picky: str, context: Context, keep: bool) -> None:
    """A claim that goes with its StatefulSet takes its volume with it, so there is one for each level."""
    with volumes(other.kubectl, 1 if keep else 3) as storage_class:
        cache = {"type": "pvc", "size": "1Gi", "class": storage_class, "keep": keep}
        defaults = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kubectl-build-defaults"}}
        other.kubectl.apply({**defaults, "data": {"builder.yaml": json.dumps({"image": picky, "cache": cache})}})

        result = other.kubectl("build", context({"Dockerfile": STEPLESS}), AMD64, "--progress=plain").ok()

        assert "security of pool amd64: privileged" in result.stderr, str(result)
        assert levels(other, "buildkit") == "privileged"
        mounted = pod(other, "buildkit")["spec"]["volumes"]
        assert {"name": "state", "persistentVolumeClaim": {"claimName": "state-buildkit-amd64-0"}} in mounted
        before = claims(other)
        assert set(before) == {"state-buildkit-amd64-0"}
        other.kubectl("delete", "pod", "buildkit-amd64-0").ok()
        other.kubectl("build", context({"Dockerfile": STEPLESS}), AMD64).ok()
        assert claims(other) == before
        other.kubectl("buildkit", "rm", "buildkit").ok()
        assert (claims(other) == before) is keep
        other.kubectl("delete", "pvc", "--all").ok()
