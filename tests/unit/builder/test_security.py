from __future__ import annotations

from typing import Any

import pytest

from kubectl_build.builder import names
from kubectl_build.builder.manifests import render
from kubectl_build.builder.security import LADDER, blames_level, keeps_host_users, level_of, objection, rootless_image
from kubectl_build.builder.spec import BuilderSpec, RegistrySettings
from kubectl_build.builder.volume import CacheVolume

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def _pod(level: str, **spec: Any) -> dict[str, Any]:
    manifests = render("b", "ns", BuilderSpec(security=level, **spec), ("amd64",))
    template: dict[str, Any] = manifests.stateful_sets["amd64"]["spec"]["template"]
    assert level_of(template) == level
    return template


def _daemon(pod: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = next(item for item in pod["spec"]["containers"] if item["name"] == names.CONTAINER)
    return container


def test_userns_pod_is_privileged_in_a_user_namespace_of_its_own() -> None:
    pod = _pod("userns")

    assert pod["spec"]["hostUsers"] is False
    assert _daemon(pod)["securityContext"] == {"privileged": True}
    assert _daemon(pod)["image"] == BuilderSpec().image


def test_privileged_pod_is_in_the_nodes_user_namespace() -> None:
    pod = _pod("privileged")

    assert "hostUsers" not in pod["spec"]
    assert _daemon(pod)["securityContext"] == {"privileged": True}


def test_rootless_pod_has_no_privilege_and_its_profiles_by_fields() -> None:
    pod = _pod("rootless")
    context = _daemon(pod)["securityContext"]

    assert "privileged" not in context
    assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (1000, 1000, True)
    assert context["seccompProfile"] == context["appArmorProfile"] == {"type": "Unconfined"}
    # newuidmap must be able to become root, so these must not be there.
    assert not {"allowPrivilegeEscalation", "capabilities"} & context.keys()
    assert not any("seccomp" in key or "apparmor" in key for key in pod["metadata"]["annotations"])


def test_rootless_daemon_reads_the_configuration_and_keeps_its_state_in_the_volume() -> None:
    container = _daemon(_pod("rootless", registries={"r": RegistrySettings(ca=CA)}))
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}

    assert container["image"] == "docker.io/moby/buildkit:v0.31.2-rootless"
    assert container["args"] == ["--config", "/etc/buildkit/buildkitd.toml", "--oci-worker-no-process-sandbox"]
    assert mounts["state"]["mountPath"] == "/home/user/.local/share/buildkit"
    assert mounts["config"] == {"name": "config", "mountPath": "/etc/buildkit", "readOnly": True}


def test_rootless_daemon_may_read_the_secrets_files_by_its_group() -> None:
    pod = _pod("rootless", registries={"r": RegistrySettings(ca=CA)})["spec"]
    sources = next(volume for volume in pod["volumes"] if volume["name"] == "config")["projected"]["sources"]
    (item,) = next(source["secret"]["items"] for source in sources if "secret" in source)

    assert item["mode"] == 0o400
    # The kubelet gives the files of a projected volume this group, and the group may read what the owner may.
    assert pod["securityContext"] == {"fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}


@pytest.mark.parametrize("level", LADDER)
def test_pod_of_every_level_has_no_account_token_and_no_port(level: str) -> None:
    pod = _pod(level, cache=CacheVolume(kind="pvc", size="1Gi"))["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert all("ports" not in container for container in pod["containers"])


def test_level_chosen_for_a_pool_shows_in_its_hash_and_not_in_what_is_recorded() -> None:
    spec = BuilderSpec()
    chosen = [render("b", "ns", spec, ("amd64", "arm64"), levels={"arm64": level}) for level in LADDER]

    assert (
        len({item.stateful_sets["arm64"]["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_CONFIG_HASH] for item in chosen})
        == 3
    )
    assert all(item.stateful_sets["amd64"] == chosen[0].stateful_sets["amd64"] for item in chosen)
    assert all("security: auto\n" in item.config_map["data"]["builder.yaml"] for item in chosen)


@pytest.mark.parametrize(
    ("image", "variant"),
    [
        ("docker.io/moby/buildkit:v0.31.2", "docker.io/moby/buildkit:v0.31.2-rootless"),
        ("moby/buildkit", "moby/buildkit:rootless"),
        ("moby/buildkit:latest", "moby/buildkit:rootless"),
        ("mirror:5000/moby/buildkit", "mirror:5000/moby/buildkit:rootless"),
        ("mirror:5000/moby/buildkit:master", "mirror:5000/moby/buildkit:master-rootless"),
        ("moby/buildkit:v1-rootless", "moby/buildkit:v1-rootless"),
        ("team/buildkit-rootless:7", "team/buildkit-rootless:7"),
        ("moby/buildkit:rootless@sha256:" + "0" * 64, "moby/buildkit:rootless@sha256:" + "0" * 64),
        ("moby/buildkit@sha256:" + "0" * 64, None),
        ("rootless/builder:1", None),
        ("team/builder:7", None),
    ],
)
def test_rootless_image_is_named_as_the_official_ones_are(image: str, variant: str | None) -> None:
    assert rootless_image(image) == variant


@pytest.mark.parametrize(
    ("level", "more", "words"),
    [
        ("userns", {}, ""),
        ("userns", {"qemu_install": True}, "emulators"),
        ("userns", {"host_network": True}, "node's network"),
        ("userns", {"image": "moby/buildkit:rootless"}, "is a rootless one"),
        ("privileged", {"image": "moby/buildkit:rootless"}, "is a rootless one"),
        ("privileged", {"qemu_install": True, "host_network": True}, ""),
        ("rootless", {"image": "moby/buildkit:rootless"}, ""),
        ("rootless", {"image": "team/builder:7"}, "no rootless variant"),
        ("rootless", {"image": "team/builder:7", "asked": True}, ""),
    ],
)
def test_objection_tells_what_speaks_against_a_level(level: str, more: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"image": "moby/buildkit:v1", "qemu_install": False, "host_network": False, "asked": False, **more}
    found = objection(level, **given)

    assert words in found
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("annotation", "host_users", "kept"),
    [("userns", False, True), ("userns", None, False), ("userns", True, False), ("privileged", None, True), ("", None, True)],
)
def test_pod_keeps_its_user_namespace_only_when_the_server_says_so(annotation: str, host_users: bool | None, kept: bool) -> None:
    pod = {
        "metadata": {"annotations": {names.ANNOTATION_SECURITY: annotation}},
        "spec": {} if host_users is None else {"hostUsers": host_users},
    }

    assert keeps_host_users(pod) is kept


@pytest.mark.parametrize(
    ("message", "blamed"),
    [
        ("[rootlesskit:parent] error: failed to setup UID/GID map: newuidmap 12 failed: operation not permitted", True),
        ("failed to create containerd task: OCI runtime create failed: idmap mounts are not supported by overlayfs", True),
        ("fork/exec /proc/self/exe: no space left on device; /proc/sys/user/max_user_namespaces needs to be set to non-zero", True),
        ('the handler "" does not support user namespaces', True),
        ("could not load configuration: toml: line 3: expected value", False),
        ('exec: "buildkitd": executable file not found in $PATH', False),
        ("", False),
    ],
)
def test_failure_is_the_levels_when_its_words_say_so(message: str, blamed: bool) -> None:
    assert blames_level(message) is blamed
