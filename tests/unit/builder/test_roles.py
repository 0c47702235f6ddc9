from __future__ import annotations

import io

import pytest

from kubectl_build.builder.documents import load_builder
from kubectl_build.builder.manifests import render, to_yaml
from kubectl_build.builder.roles import build_role, create_role, granting, rbac_objects, view_role
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.cli.errors import show_error
from kubectl_build.errors import BuilderNotReady, Forbidden
from kubectl_build.model.json import JsonObject


def _rights(role: JsonObject) -> set[tuple[str, str, str]]:
    """(verb, group, resource), but for those on one object only."""
    return {
        (verb, group, resource)
        for rule in role["rules"]
        if "resourceNames" not in rule
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _missing(verb: str, resource: str, namespace: str | None = "ns") -> Forbidden:
    return Forbidden(f"not allowed to {verb} {resource}", status=403, hint="ask", verb=verb, resource=resource, namespace=namespace)


def test_roles_of_makers_have_what_builders_have_and_those_what_viewers_have() -> None:
    assert _rights(view_role()) < _rights(build_role()) < _rights(create_role())


def test_roles_let_only_makers_change_what_builders_are() -> None:
    changes = {"create", "patch", "delete"}
    changed = {resource for verb, _, resource in _rights(build_role()) if verb in changes}

    assert changed == {"pods/exec", "statefulsets/scale", "leases"}
    assert not any(verb in changes or resource in ("pods/exec", "secrets") for verb, _, resource in _rights(view_role()))


def test_roles_name_no_right_by_a_wildcard() -> None:
    assert not any("*" in part for right in _rights(create_role()) for part in right)


@pytest.mark.parametrize(
    ("missing", "role"),
    [
        (_missing("list", "pods"), 'Role "kubectl-build"'),
        (_missing("create", "pods/exec"), 'Role "kubectl-build"'),
        (_missing("list", "statefulsets.apps"), 'Role "kubectl-build"'),
        (_missing("create", "leases.coordination.k8s.io"), 'Role "kubectl-build"'),
        (_missing("patch", "statefulsets.apps"), 'Role "kubectl-buildkit"'),
        (_missing("patch", "statefulsets.apps/scale"), 'Role "kubectl-build"'),
        (_missing("get", "secrets"), 'Role "kubectl-buildkit"'),
        (_missing("delete", "networkpolicies.networking.k8s.io"), 'Role "kubectl-buildkit"'),
        (_missing("list", "nodes", None), 'ClusterRole "kubectl-build-nodes"'),
        (_missing("list", "pods", None), ""),
        (_missing("delete", "namespaces", None), ""),
        (_missing("list", "services"), ""),
        (Forbidden("exceeded quota", status=403), ""),
    ],
)
def test_role_that_grants_a_right_is_the_least_one(missing: Forbidden, role: str) -> None:
    assert granting(missing) == role


def test_error_about_a_right_names_its_role_also_when_it_is_only_the_cause() -> None:
    stream = io.StringIO()
    error = BuilderNotReady('builder "b" is stopped and you may not start it')
    error.__cause__ = _missing("patch", "statefulsets.apps")

    assert show_error(error, stream) == 4
    assert 'hint: the Role "kubectl-buildkit" grants it' in stream.getvalue()


def test_error_of_admission_names_no_role() -> None:
    stream = io.StringIO()

    assert show_error(Forbidden('not allowed to create pods "x": exceeded quota: q', status=403), stream) == 4
    assert stream.getvalue() == 'error: not allowed to create pods "x": exceeded quota: q\n'


def test_roles_printed_with_a_builder_are_of_its_namespace_and_do_not_keep_it_from_being_read_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objects = rbac_objects("mine", "ns")
    placed = {(item["kind"], item["metadata"]["name"]): item["metadata"].get("namespace") for item in objects}

    assert placed == {
        ("Role", "kubectl-build"): "ns",
        ("Role", "kubectl-buildkit"): "ns",
        ("Role", "kubectl-build-view"): "ns",
        ("ClusterRole", "kubectl-build-nodes"): None,
    }
    assert [rule["resourceNames"] for rule in objects[0]["rules"] if "resourceNames" in rule] == [["mine"]]
    manifests = render("mine", "ns", BuilderSpec(security="userns"), ("amd64",))
    monkeypatch.setattr("sys.stdin", io.StringIO(to_yaml([*manifests.objects, *objects])))
    assert load_builder("-").name == "mine"
