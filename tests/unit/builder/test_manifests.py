from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
import yaml

from kubectl_build.builder import names
from kubectl_build.builder.manifests import render, to_yaml
from kubectl_build.builder.spec import BuilderSpec, ClientFile, RegistrySettings
from kubectl_build.model.platform import parse_platforms
from tests.unit.builder.golden import DIRECTORY, documents

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def _pod(spec: BuilderSpec, architecture: str = "amd64") -> dict[str, Any]:
    template: dict[str, Any] = render("b", "ns", spec, (architecture,)).stateful_sets[architecture]["spec"]["template"]
    return template


def _hash(spec: BuilderSpec) -> str:
    return str(_pod(spec)["metadata"]["annotations"][names.ANNOTATION_CONFIG_HASH])


@pytest.mark.parametrize("name", sorted(documents()))
def test_manifests_directory_equals_what_is_rendered(name: str) -> None:
    """After a wanted change: python -m tests.unit.builder.golden."""
    assert (DIRECTORY / name).read_text() == documents()[name]


def test_manifests_directory_has_no_other_files() -> None:
    assert sorted(path.name for path in DIRECTORY.iterdir()) == sorted(documents())


def test_yaml_reads_back_as_the_objects() -> None:
    manifests = render("b", "ns", BuilderSpec(registries={"r:5000": RegistrySettings(ca=CA)}), ("amd64", "arm64"))

    assert list(yaml.safe_load_all(to_yaml(manifests.objects))) == list(manifests.objects)
    assert [item["kind"] for item in manifests.objects] == ["ConfigMap", "NetworkPolicy", "Secret", "StatefulSet", "StatefulSet"]


def test_every_object_has_the_labels_and_the_selector_finds_its_own_pool_only() -> None:
    manifests = render("b", "ns", BuilderSpec(registries={"r": RegistrySettings(ca=CA)}), ("amd64", "arm64"))

    for item in manifests.objects:
        assert names.labels("b").items() <= item["metadata"]["labels"].items()
    for architecture, item in manifests.stateful_sets.items():
        assert item["metadata"]["name"] == f"b-{architecture}"
        assert item["spec"]["selector"]["matchLabels"] == item["spec"]["template"]["metadata"]["labels"]
        assert item["spec"]["selector"]["matchLabels"][names.LABEL_ARCHITECTURE] == architecture


def test_pod_goes_to_linux_nodes_of_its_architecture_and_gives_lost_nodes_up_soon() -> None:
    pod = _pod(BuilderSpec(), "s390x")["spec"]

    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "s390x"}
    assert {"key": "kubernetes.io/arch", "operator": "Equal", "value": "s390x", "effect": "NoSchedule"} in pod["tolerations"]
    lost = [item for item in pod["tolerations"] if item["effect"] == "NoExecute"]
    assert {(item["key"], item["tolerationSeconds"]) for item in lost} == {
        ("node.kubernetes.io/not-ready", 30),
        ("node.kubernetes.io/unreachable", 30),
    }


def test_pod_that_is_deleted_waits_for_its_builds_before_buildkitd_is_told() -> None:
    command = _pod(BuilderSpec())["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]

    assert command == ["sh", "-c", "while buildctl debug histories | grep -q ^STARTED; do sleep 1; done"]


def test_pod_has_no_account_token_no_liveness_probe_and_its_state_in_a_volume() -> None:
    pod = _pod(BuilderSpec())["spec"]
    container = pod["containers"][0]

    assert pod["automountServiceAccountToken"] is False
    assert "livenessProbe" not in container
    assert container["startupProbe"]["periodSeconds"] == 1
    assert container["readinessProbe"]["periodSeconds"] == 10
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mounted["/var/lib/buildkit"]]["emptyDir"] == {}


def test_replicas_are_written_only_when_asked_for() -> None:
    assert "replicas" not in render("b", "", BuilderSpec(), ("amd64",)).stateful_sets["amd64"]["spec"]
    assert render("b", "", BuilderSpec(replicas=3), ("amd64",)).stateful_sets["amd64"]["spec"]["replicas"] == 3


def test_qemu_install_adds_a_privileged_init_container() -> None:
    assert "initContainers" not in _pod(BuilderSpec())["spec"]

    (container,) = _pod(BuilderSpec(qemu_install=True, qemu_image="q:1"))["spec"]["initContainers"]
    assert (container["image"], container["args"], container["securityContext"]) == ("q:1", ["--install", "all"], {"privileged": True})


def test_certificates_and_keys_are_in_the_secret_and_nowhere_else() -> None:
    key = ClientFile.of("very private")
    spec = BuilderSpec(registries={"r:5000": RegistrySettings(ca=CA)}, client_files={"r_5000-0.key": key})

    manifests = render("b", "ns", spec, ("amd64",))

    assert manifests.secret is not None
    data = {name: base64.b64decode(value).decode() for name, value in manifests.secret["data"].items()}
    assert data == {"r_5000.ca.pem": CA, "r_5000-0.key": "very private"}
    others = to_yaml([manifests.config_map, manifests.stateful_sets["amd64"]])
    assert "very private" not in others
    (config,) = (volume for volume in _pod(spec)["spec"]["volumes"] if volume["name"] == "config")
    secret = config["projected"]["sources"][1]["secret"]
    assert [(item["key"], item["path"]) for item in secret["items"]] == [
        ("r_5000-0.key", "certs/r_5000-0.key"),
        ("r_5000.ca.pem", "certs/r_5000.ca.pem"),
    ]


def test_secret_is_absent_without_certificates() -> None:
    assert render("b", "", BuilderSpec(registries={"r": RegistrySettings(http=True)}), ("amd64",)).secret is None


@pytest.mark.parametrize(
    "change",
    [
        {"image": "other:1"},
        {"env": {"A": "1"}},
        {"qemu_install": True},
        {"buildkitd_config": "debug = true\n"},
        {"registries": {"r": RegistrySettings(ca=CA)}},
        {"registries": {"r": RegistrySettings(ca=CA + CA)}},
        {"client_files": {"r-0.key": ClientFile.of("x")}},
        {"platforms": parse_platforms(["linux/amd64"])},
        {"resources": {"limits": {"memory": "1Gi"}}},
    ],
)
def test_hash_changes_with_everything_a_pod_is_made_from(change: dict[str, Any]) -> None:
    base = BuilderSpec(registries={"r": RegistrySettings()})

    assert _hash(replace(base, **change)) != _hash(base)


def test_hash_stays_when_only_the_number_of_pods_changes() -> None:
    assert _hash(BuilderSpec(replicas=2)) == _hash(BuilderSpec())


def test_hash_is_the_same_for_a_key_read_back_by_its_digest() -> None:
    written = ClientFile.of("x")

    assert _hash(BuilderSpec(client_files={"k": written})) == _hash(BuilderSpec(client_files={"k": ClientFile(digest=written.digest)}))
