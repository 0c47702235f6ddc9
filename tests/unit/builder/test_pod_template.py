from __future__ import annotations

from typing import Any

import pytest
import yaml

from kubectl_build.builder import names
from kubectl_build.builder.manifests import render
from kubectl_build.builder.pod_template import check_template, merge_template
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.errors import UsageError


def _merged(template: str) -> dict[str, Any]:
    """The pod of a builder with this template."""
    document = yaml.safe_load(template)
    check_template(document)
    pod: dict[str, Any] = render("b", "", BuilderSpec(pod=PodShape(template=document)), ("amd64",)).stateful_sets["amd64"]["spec"][
        "template"
    ]
    return pod


def _plain() -> dict[str, Any]:
    pod: dict[str, Any] = render("b", "", BuilderSpec(), ("amd64",)).stateful_sets["amd64"]["spec"]["template"]
    return pod


def test_template_adds_to_lists_by_name_and_keeps_what_is_there() -> None:
    plain = _plain()["spec"]

    pod = _merged(
        """
metadata: {annotations: {a: b}, labels: {team: ci}}
spec:
  hostAliases: [{ip: 10.0.0.1, hostnames: [x]}]
  tolerations: [{key: gpu, operator: Exists}]
  containers:
    - {name: sidecar, image: s}
    - name: buildkitd
      env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: BUILDKIT_STEP_LOG_MAX_SIZE, value: '1'}]
      volumeMounts: [{name: extra, mountPath: /extra}]
      resources: {limits: {memory: 1Gi}}
  volumes: [{name: extra, emptyDir: {}}]
"""
    )

    spec = pod["spec"]
    assert pod["metadata"]["annotations"]["a"] == "b"
    assert pod["metadata"]["labels"] == {**names.labels("b", "amd64"), "team": "ci"}
    assert spec["tolerations"] == [*plain["tolerations"], {"key": "gpu", "operator": "Exists"}]
    assert spec["volumes"] == [*plain["volumes"], {"name": "extra", "emptyDir": {}}]
    assert [container["name"] for container in spec["containers"]] == ["buildkitd", "sidecar"]
    daemon, before = spec["containers"][0], plain["containers"][0]
    env = {item["name"]: item for item in daemon["env"]}
    assert env["BUILDKIT_STEP_LOG_MAX_SIZE"]["value"] == "1"
    assert env["BUILDKIT_STEP_LOG_MAX_SPEED"]["value"] == "-1"
    assert "valueFrom" in env["TOKEN"]
    assert daemon["volumeMounts"] == [*before["volumeMounts"], {"name": "extra", "mountPath": "/extra"}]
    assert daemon["resources"] == {**before["resources"], "limits": {"memory": "1Gi"}}
    assert daemon["args"] == before["args"]


def test_template_removes_with_null_and_with_a_patch() -> None:
    pod = _merged(
        """
spec:
  enableServiceLinks: null
  containers: [{name: buildkitd, env: [{name: BUILDKIT_STEP_LOG_MAX_SPEED, $patch: delete}, {name: NONE, $patch: delete}]}]
"""
    )

    assert "enableServiceLinks" not in pod["spec"]
    assert [item["name"] for item in pod["spec"]["containers"][0]["env"]] == ["BUILDKIT_STEP_LOG_MAX_SIZE"]


def test_template_says_where_a_variable_comes_from_instead_of_its_value() -> None:
    pod = _merged("spec: {containers: [{name: buildkitd, env: [{name: BUILDKIT_STEP_LOG_MAX_SIZE, valueFrom: {fieldRef: {}}}]}]}")

    (variable,) = [item for item in pod["spec"]["containers"][0]["env"] if item["name"] == "BUILDKIT_STEP_LOG_MAX_SIZE"]
    assert variable == {"name": "BUILDKIT_STEP_LOG_MAX_SIZE", "valueFrom": {"fieldRef": {}}}


def test_template_replaces_lists_without_a_key() -> None:
    base = {"metadata": {}, "spec": {"containers": [{"name": "buildkitd", "ports": [1]}], "x": {"a": [1, 2]}}}

    assert merge_template(base, {"spec": {"x": {"a": [3]}}})["spec"]["x"] == {"a": [3]}
    assert base["spec"]["x"] == {"a": [1, 2]}


def test_template_changes_the_hash_of_the_configuration() -> None:
    plain, other = _plain(), _merged("spec: {hostname: h}")

    assert plain["metadata"]["annotations"][names.ANNOTATION_CONFIG_HASH] != other["metadata"]["annotations"][names.ANNOTATION_CONFIG_HASH]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("spec: {containers: [{image: i}]}", 'without "name"'),
        ("spec: {containers: [{name: buildkitd, $patch: delete}]}", 'removes the container "buildkitd"'),
        ("spec: {containers: [{name: buildkitd, args: [--debug]}]}", 'changes "args"'),
        ("spec: {containers: [{name: buildkitd, command: [sh]}]}", 'changes "command"'),
        ("spec: {containers: [{name: buildkitd, volumeMounts: [{mountPath: /var/lib/buildkit, $patch: delete}]}]}", "/var/lib/buildkit"),
        ("spec: {containers: [{name: buildkitd, volumeMounts: [{mountPath: /etc/buildkit/, name: x}]}]}", "/etc/buildkit/"),
        ("spec: {containers: null}", "removes all containers"),
        ("spec: {volumes: null}", "removes all volumes"),
        ("spec: {containers: {name: x}}", 'no list of objects at "spec.containers"'),
        ("spec: {volumes: [{name: state, emptyDir: {}}]}", 'changes the volume "state"'),
        ("spec: {nodeSelector: {kubernetes.io/arch: arm64}}", "changes the architecture"),
        ("spec: {nodeSelector: null}", "changes the architecture"),
        ("spec: {hostUsers: true}", 'changes "hostUsers"'),
        ("metadata: {labels: {app.kubernetes.io/instance: x}}", '"app.kubernetes.io/instance"'),
        ("metadata: {annotations: {kubectl-build/config-hash: x}}", '"kubectl-build/config-hash"'),
        ("metadata: {annotations: {a: 1}}", "annotation that is no text"),
        ("metadata: {name: x}", '"metadata.name"'),
        ("template: {}", '"template"'),
        ("kind: Deployment", '"kind"'),
        ("spec: [1]", 'at "spec"'),
    ],
)
def test_template_that_would_break_the_builder_is_refused(template: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_template(yaml.safe_load(template))
    assert words in caught.value.message
    assert caught.value.hint
