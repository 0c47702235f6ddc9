from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
import yaml

from kubectl_build.builder import names
from kubectl_build.builder.manifests import render, to_yaml
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import BuilderSpec, ClientFile, RegistrySettings
from kubectl_build.builder.volume import CacheVolume
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
    written_by_hand = {"ci-job.yaml"}
    assert {path.name for path in DIRECTORY.iterdir()} == {*documents(), *written_by_hand}


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
        {"allow": ("network.host",)},
        {"cache": CacheVolume(size="5Gi")},
        {"buildkitd_flags": ("--debug",)},
        {"pod": PodShape(labels={"a": "b"})},
        {"pod": PodShape(annotations={"a": "b"})},
        {"pod": PodShape(node_selector={"a": "b"})},
        {"pod": PodShape(grace_seconds=1)},
    ],
)
def test_hash_changes_with_everything_a_pod_is_made_from(change: dict[str, Any]) -> None:
    base = BuilderSpec(registries={"r": RegistrySettings()})

    assert _hash(replace(base, **change)) != _hash(base)


def test_hash_stays_when_only_the_number_of_pods_or_the_idle_time_changes() -> None:
    assert _hash(BuilderSpec(replicas=2, idle_seconds=60)) == _hash(BuilderSpec())


def test_hash_is_the_same_for_a_key_read_back_by_its_digest() -> None:
    written = ClientFile.of("x")

    assert _hash(BuilderSpec(client_files={"k": written})) == _hash(BuilderSpec(client_files={"k": ClientFile(digest=written.digest)}))


def test_shape_is_in_the_pod() -> None:
    shape = PodShape(
        node_selector={"disk": "ssd", "kubernetes.io/arch": "other"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        affinity={"podAffinity": {}},
        spread=("zone", "kubernetes.io/hostname:hard"),
        priority_class="p",
        service_account="s",
        image_pull_secrets=("one", "two"),
        runtime_class="r",
        scheduler_name="c",
        annotations={"note": "x"},
        labels={"team": "ci"},
        host_network=True,
        grace_seconds=0,
    )
    pod = _pod(BuilderSpec(pod=shape))
    spec = pod["spec"]

    assert pod["metadata"]["labels"] == {**names.labels("b", "amd64"), "team": "ci"}
    assert pod["metadata"]["annotations"]["note"] == "x"
    assert spec["nodeSelector"] == {"disk": "ssd", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    assert spec["tolerations"][-1] == {"key": "gpu", "operator": "Exists"}
    assert [(item["topologyKey"], item["whenUnsatisfiable"]) for item in spec["topologySpreadConstraints"]] == [
        ("zone", "ScheduleAnyway"),
        ("kubernetes.io/hostname", "DoNotSchedule"),
    ]
    assert spec["topologySpreadConstraints"][0]["labelSelector"] == {"matchLabels": names.labels("b", "amd64")}
    expected = {
        "affinity": {"podAffinity": {}},
        "priorityClassName": "p",
        "serviceAccountName": "s",
        "imagePullSecrets": [{"name": "one"}, {"name": "two"}],
        "runtimeClassName": "r",
        "schedulerName": "c",
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "terminationGracePeriodSeconds": 0,
    }
    assert {key: spec[key] for key in expected} == expected
    assert spec["automountServiceAccountToken"] is False


def test_shape_that_was_not_said_leaves_the_namespaces_own_defaults() -> None:
    spec = _pod(BuilderSpec())["spec"]

    said = {"affinity", "topologySpreadConstraints", "priorityClassName", "serviceAccountName", "imagePullSecrets", "runtimeClassName"}
    assert said & spec.keys() == set()
    assert spec["terminationGracePeriodSeconds"] == 60


def test_labels_of_people_are_on_every_object_and_in_no_selector() -> None:
    manifests = render("b", "", BuilderSpec(pod=PodShape(labels={"team": "ci"}), registries={"r": RegistrySettings(ca=CA)}), ("amd64",))

    assert [item["metadata"]["labels"]["team"] for item in manifests.objects] == ["ci"] * 4
    assert "team" not in manifests.stateful_sets["amd64"]["spec"]["selector"]["matchLabels"]
    assert "team" not in manifests.network_policy["spec"]["podSelector"]["matchLabels"]


def test_network_policy_lets_nobody_in_and_everything_out() -> None:
    policy = render("b", "ns", BuilderSpec(), ("amd64",)).network_policy

    assert policy["spec"] == {"podSelector": {"matchLabels": names.labels("b")}, "policyTypes": ["Ingress"]}


def test_configuration_is_read_only_and_no_port_is_open() -> None:
    spec = BuilderSpec(registries={"r": RegistrySettings(ca=CA)})
    container = _pod(spec)["spec"]["containers"][0]

    assert "ports" not in container
    assert all(mount.get("readOnly") for mount in container["volumeMounts"] if mount["name"] == "config")
    assert not any("--addr" in argument and "tcp" in argument for argument in container["args"])
