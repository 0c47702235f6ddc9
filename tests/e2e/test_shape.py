"""The shape of builders: what create's flags make of real pods, claims on volumes made here, pod templates, files, buildx's options."""

from __future__ import annotations

import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.kubectl import MANAGED, BuildLog, Namespace
from tests.e2e.registry import Registry
from tests.e2e.test_builders import create, pods, temporary
from tests.e2e.volumes import volumes

__all__ = ["temporary"]

AMD64 = "--platform=linux/amd64"
Context = Callable[..., Path]
Temporary = Callable[[str], str]


def only_pod(namespace: Namespace, builder: str) -> dict[str, Any]:
    (pod,) = pods(namespace, builder).values()
    return pod


def in_pod(namespace: Namespace, pod: str, *command: str) -> str:
    return namespace.kubectl("exec", pod, "-c", "buildkitd", "--", *command).ok().stdout


def state_dir(pod: dict[str, Any]) -> str:
    (mount,) = [m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "state"]
    return str(mount["mountPath"])


def claims(namespace: Namespace) -> dict[str, str]:
    """The phases of the builders' claims that stay."""
    found = namespace.kubectl("get", "pvc", "-l", MANAGED, "-o", "json").json()["items"]
    return {item["metadata"]["name"]: item["status"]["phase"] for item in found if not item["metadata"].get("deletionTimestamp")}


def until(condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Look again and again: what is waited for is in the cluster."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


@pytest.fixture
def cluster_wide(namespace: Namespace) -> Iterator[str]:
    """The name of a priority class and of a runtime class."""
    name = f"shape-{uuid.uuid4().hex[:6]}"
    namespace.kubectl.apply(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 7},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc"},
    )
    yield name
    namespace.kubectl("delete", f"priorityclass/{name}", f"runtimeclass/{name}").ok()


def test_every_flag_is_on_the_real_pod(namespace: Namespace, temporary: Temporary, cluster_wide: str, tmp_path: Path) -> None:
    name = temporary("shaped")
    namespace.kubectl("create", "serviceaccount", "builder").ok()
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}]}}}  # fmt: skip
    (tmp_path / "affinity.yaml").write_text(yaml.safe_dump(affinity))
    flags = (
        AMD64,
        "--requests=cpu=50m,memory=128Mi",
        "--limits=memory=1Gi",
        "--node-selector=kubernetes.io/os=linux",
        "--tolerations=dedicated=builds:NoSchedule,spot",
        f"--affinity={tmp_path / 'affinity.yaml'}",
        "--spread=kubernetes.io/hostname",
        f"--priority-class={cluster_wide}",
        f"--runtime-class={cluster_wide}",
        "--service-account=builder",
        "--image-pull-secrets=my-secret",
        "--scheduler-name=default-scheduler",
        "--annotations=note=hello",
        "--labels=team=ci",
        "--grace-period=5s",
        "--env=SOME=thing",
        "--no-proxy=.svc",
        "--allow=network.host",
        "--buildkitd-flags=--debug",
        "--cache=emptydir,size=2Gi",
        "--idle-timeout=12h",
        "--registry=mirrored.example,mirror=127.0.0.1:1/hub,http",
    )

    assert create(namespace, name, *flags, "--bootstrap") == "created"

    pod = only_pod(namespace, name)
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert pod["metadata"]["labels"]["team"] == "ci"
    assert pod["metadata"]["annotations"]["note"] == "hello"
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    assert {"key": "dedicated", "operator": "Equal", "value": "builds", "effect": "NoSchedule"} in spec["tolerations"]
    assert spec["affinity"] == affinity
    assert spec["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
    assert (spec["priorityClassName"], spec["priority"], spec["runtimeClassName"]) == (cluster_wide, 7, cluster_wide)
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("builder", False)
    assert (spec["imagePullSecrets"], spec["terminationGracePeriodSeconds"]) == ([{"name": "my-secret"}], 5)
    assert {"name": "state", "emptyDir": {"sizeLimit": "2Gi"}} in spec["volumes"]
    assert "--debug" in container["args"]
    pod_name = pod["metadata"]["name"]
    assert {"SOME=thing", "NO_PROXY=.svc"} <= set(in_pod(namespace, pod_name, "sh", "-c", "tr '\\0' '\\n' </proc/1/environ").splitlines())
    config = tomllib.loads(in_pod(namespace, pod_name, "cat", "/etc/buildkit/buildkitd.toml"))
    assert config["insecure-entitlements"] == ["network.host"]
    assert config["worker"]["oci"]["maxUsedSpace"] == "1536MB"
    assert config["registry"]["mirrored.example"] == {"mirrors": ["127.0.0.1:1/hub"], "http": True}
    namespace.kubectl("exec", pod_name, "-c", "buildkitd", "--", "touch", "/etc/buildkit/x").failed(1, "read-only")
    in_pod(namespace, pod_name, "sh", "-c", "! test -e /var/run/secrets/kubernetes.io")
    policy = namespace.kubectl("get", "networkpolicy", name, "-o", "json").json()["spec"]
    assert (policy["policyTypes"], policy.get("ingress")) == (["Ingress"], None)
    assert create(namespace, name, *flags) == "unchanged"
    described = namespace.kubectl("buildkit", "inspect", name).ok().stdout
    assert all(words in described for words in ("emptydir,size=2Gi", "limits memory=1Gi", "network.host", "after 12h")), described
    recorded = namespace.kubectl("buildkit", "inspect", name, "-o", "json").json()["spec"]
    assert (recorded["labels"], recorded["gracePeriod"]) == ({"team": "ci"}, "5s")


def test_builder_in_words_of_buildx_has_the_nodes_network_and_grants_it(
    namespace: Namespace, temporary: Temporary, context: Context, tmp_path: Path
) -> None:
    name = temporary("fromx")
    options = ["network=host,replicas=1,requests.memory=128Mi", "env.SOME=thing", '"labels=team=ci,tier=build"', "loadbalance=sticky"]
    kubectl = namespace.kubectl.with_env(XDG_CONFIG_HOME=str(tmp_path))
    kubectl(
        "buildkit", "create", "--name", name, "--driver=kubernetes", "--use", "--bootstrap", AMD64, *(f"--driver-opt={o}" for o in options)
    ).ok()

    pod = only_pod(namespace, name)
    assert pod["spec"]["hostNetwork"] is True
    assert pod["metadata"]["labels"].items() >= {"team": "ci", "tier": "build"}.items()
    # The build goes to the builder that --use made the preferred one, and its step has the node's own interfaces.
    directory = context({"Dockerfile": "FROM busybox\nRUN --network=host cat /proc/net/dev\n"})
    result = kubectl("build", directory, AMD64, "--allow=network.host", "--progress=rawjson").ok()
    seen = {line.partition(":")[0].strip() for line in BuildLog.of(result).output.splitlines() if ":" in line}
    assert {path.name for path in Path("/sys/class/net").iterdir() if not path.name.startswith("veth")} <= seen, str(result)
    assert namespace.history(pod["metadata"]["name"])


def test_entitlement_that_the_builder_does_not_grant_is_refused(namespace: Namespace, temporary: Temporary, context: Context) -> None:
    name = temporary("strict")
    create(namespace, name, AMD64, "--bootstrap")
    directory = context({"Dockerfile": "FROM busybox\nRUN --network=host true\n"})

    result = namespace.kubectl("build", directory, AMD64, f"--builder={name}", "--allow=network.host")

    result.failed(1, "entitlement network.host is not allowed", "--allow network.host")


def test_registries_of_flags_are_trusted_by_the_daemons(
    make_namespace: Callable[[str], Namespace], context: Context, registry: Registry
) -> None:
    """The namespace's own empty defaults hide those of the cluster: only the flags know the mirror and the registry."""
    namespace = make_namespace("flags")
    known = namespace.kubectl("get", "configmap", "kubectl-build-defaults", "-n", "kube-public", "-o", "json").json()
    mirror = yaml.safe_load(known["data"]["builder.yaml"])["registries"]["docker.io"]["mirrors"][0]
    own = {"metadata": {"name": "kubectl-build-defaults"}, "data": {"builder.yaml": "{}"}}
    namespace.kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", **own})
    namespace.secret("my-secret")
    registries = (
        f"docker.io,mirror={mirror}",
        f"{mirror.partition('/')[0]},http",
        f"{namespace.cluster.registry},ca={namespace.cluster.ca}",
    )
    create(namespace, "buildkit", AMD64, *(f"--registry={text}" for text in registries), "--bootstrap")
    repository = namespace.repository("flags")
    push = ("-t", f"{namespace.cluster.registry}/{repository}:v1", "--push", "--registry-secret=my-secret")
    namespace.kubectl("build", context({"Dockerfile": "FROM busybox\nRUN true >/flags\n"}), AMD64, *push).ok()
    assert "layers" in registry.manifest(repository, "v1").json
    recorded = namespace.kubectl("get", "configmap", "buildkit", "-o", "jsonpath={.data.buildkitd\\.toml}").ok().stdout
    assert "/etc/buildkit/certs/" in recorded
    namespace.kubectl("buildkit", "rm", "buildkit").ok()
    assert namespace.objects() == set()


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--service-account=none", ('serviceaccount "none" not found',)),
        ("--priority-class=none", ("no PriorityClass with name none",)),
        ("--runtime-class=none", ('RuntimeClass "none" not found',)),
        ("--limits=cpu=1,memory=1Gi --requests=cpu=2", ("must be less than or equal to cpu limit",)),
    ],
)
def test_create_what_the_cluster_does_not_have_is_explained_within_15_seconds(
    namespace: Namespace, temporary: Temporary, flag: str, words: tuple[str, ...]
) -> None:
    name = temporary("lacking")
    result = namespace.kubectl("buildkit", "create", name, AMD64, *flag.split(), "--bootstrap").failed(4, *words)
    assert result.seconds < 15, str(result)


def test_create_for_nodes_that_are_not_there_names_what_was_asked_of_them(namespace: Namespace) -> None:
    before = namespace.objects()
    namespace.kubectl("buildkit", "create", "nowhere", AMD64, "--node-selector=disk=none").failed(2, "amd64", "disk=none")
    assert namespace.objects() == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--driver=docker-container",), ("docker-container", "pods")),
        (("--driver-opt=loadbalance=random",), ("loadbalance=random",)),
        (("--driver-opt=speed=fast",), ("speed", "known options")),
        (("--append",), ("--append",)),
        (("--cache=pvc",), ("needs a size",)),
    ],
)
def test_create_what_has_no_place_here_is_one_sentence_and_makes_nothing(
    namespace: Namespace, flags: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = namespace.objects()
    result = namespace.kubectl("buildkit", "create", "never", *flags).failed(2, *words)
    assert len([line for line in result.stderr.splitlines() if line.startswith("error:")]) == 1
    assert namespace.objects() == before


@pytest.fixture
def volume(namespace: Namespace) -> Iterator[str]:
    """The storage class of one volume."""
    with volumes(namespace.kubectl) as name:
        yield name


def built(namespace: Namespace, directory: Path, builder: str) -> list[str]:
    """Build, and return the steps that were not cached."""
    flags = (AMD64, f"--builder={builder}", "--progress=rawjson")
    return BuildLog.of(namespace.kubectl("build", directory, *flags, timeout=170).ok()).uncached()


@pytest.mark.timeout(400)
def test_cache_in_a_claim_outlives_pods_and_stops_and_goes_with_the_builder(
    namespace: Namespace, temporary: Temporary, context: Context, volume: str
) -> None:
    name = temporary("lasting")
    directory = context({"Dockerfile": "FROM busybox\nRUN head -c 1000 /dev/urandom | sha256sum >/made\n"})
    create(namespace, name, AMD64, f"--cache=pvc,size=3Gi,class={volume}", "--bootstrap")
    pod = only_pod(namespace, name)
    assert claims(namespace) == {f"state-{name}-amd64-0": "Bound"}
    assert built(namespace, directory, name) != []
    workers = in_pod(namespace, pod["metadata"]["name"], "buildctl", "debug", "workers", "-v")
    assert "Maximum used space:\t2.415919104GB" in workers

    namespace.kubectl("delete", "pod", pod["metadata"]["name"]).ok()
    assert built(namespace, directory, name) == []
    assert only_pod(namespace, name)["metadata"]["uid"] != pod["metadata"]["uid"]

    stopped = namespace.kubectl("buildkit", "stop", name).ok()
    assert "cache" not in stopped.stderr, str(stopped)
    assert claims(namespace) == {f"state-{name}-amd64-0": "Bound"}
    assert built(namespace, directory, name) == []

    refused = namespace.kubectl("buildkit", "create", name, AMD64, "--cache=pvc,size=2Gi").failed(4, "cannot become", "size=2Gi")
    assert f"kubectl buildkit rm {name}" in refused.stderr
    namespace.kubectl("buildkit", "rm", name).ok()
    until(lambda: claims(namespace) == {}, "the claim goes with the builder")


@pytest.mark.timeout(400)
def test_cache_in_a_claim_that_is_kept_is_found_by_the_next_builder_of_the_name(
    namespace: Namespace, temporary: Temporary, context: Context, volume: str
) -> None:
    name = temporary("kept")
    directory = context({"Dockerfile": "FROM busybox\nRUN head -c 1000 /dev/urandom | sha256sum >/kept\n"})
    flags = (AMD64, f"--cache=pvc,size=3Gi,class={volume},keep=true", "--bootstrap")
    create(namespace, name, *flags)
    assert built(namespace, directory, name) != []

    removed = namespace.kubectl("buildkit", "rm", name).ok()
    assert f"state-{name}-amd64-0" in removed.stderr, str(removed)
    assert claims(namespace) == {f"state-{name}-amd64-0": "Bound"}
    create(namespace, name, *flags)
    assert built(namespace, directory, name) == []

    namespace.kubectl("buildkit", "rm", name).ok()
    namespace.kubectl("delete", "pvc", "-l", f"app.kubernetes.io/instance={name}").ok()


def test_cache_in_memory_is_of_the_size_that_was_asked_for(namespace: Namespace, temporary: Temporary, context: Context) -> None:
    name = temporary("quick")
    create(namespace, name, AMD64, "--cache=memory,size=256Mi", "--bootstrap")
    pod = only_pod(namespace, name)

    said = in_pod(namespace, pod["metadata"]["name"], "df", "-k", state_dir(pod)).splitlines()[-1].split()
    assert (said[0], said[1]) == ("tmpfs", str(256 * 1024))
    assert built(namespace, context({"Dockerfile": "FROM busybox\nRUN true >/memory\n"}), name) != []


def test_pod_template_is_merged_over_the_pod_and_the_builder_works(
    namespace: Namespace, temporary: Temporary, context: Context, tmp_path: Path
) -> None:
    name = temporary("templated")
    namespace.kubectl("create", "secret", "generic", "proxy", "--from-literal=hosts=.example").ok()
    namespace.kubectl("create", "configmap", "extra", "--from-literal=file=content").ok()
    template = tmp_path / "pod.yaml"
    template.write_text(
        """
metadata: {annotations: {from: template}}
spec:
  hostAliases: [{ip: 192.0.2.1, hostnames: [chosen.example]}]
  containers:
    - name: buildkitd
      env: [{name: NO_PROXY, valueFrom: {secretKeyRef: {name: proxy, key: hosts}}}]
      volumeMounts: [{name: extra, mountPath: /extra}]
  volumes: [{name: extra, configMap: {name: extra}}]
"""
    )
    create(namespace, name, AMD64, f"--pod-template={template}", "--bootstrap")

    pod = only_pod(namespace, name)
    assert pod["metadata"]["annotations"]["from"] == "template"
    assert in_pod(
        namespace, pod["metadata"]["name"], "sh", "-c", "tail -n 1 /etc/hosts; cat /extra/file; echo; echo $NO_PROXY"
    ).split() == [
        "192.0.2.1",
        "chosen.example",
        "content",
        ".example",
    ]
    assert built(namespace, context({"Dockerfile": "FROM busybox\nRUN true >/templated\n"}), name) != []
    template.write_text("spec: {containers: [{name: buildkitd, args: [--oci-worker=false]}]}")
    namespace.kubectl("buildkit", "create", name, AMD64, f"--pod-template={template}").failed(2, "args", "--buildkitd-flags")


def test_outdated_pod_that_builds_stays_until_it_is_idle(namespace: Namespace, temporary: Temporary, context: Context) -> None:
    name = temporary("busy")
    create(namespace, name, AMD64, "--bootstrap")
    before = only_pod(namespace, name)["metadata"]
    directory = context({"Dockerfile": f"FROM busybox\nRUN sleep 12 && echo {time.time_ns()}\n"})
    running = namespace.kubectl.start("build", directory, AMD64, f"--builder={name}", "--progress=plain")
    until(lambda: "STARTED" in in_pod(namespace, before["name"], "buildctl", "debug", "histories").upper(), "the build has begun")

    changed = namespace.kubectl("buildkit", "create", name, AMD64, "--labels=team=ci").ok()

    assert f"still building with the earlier configuration: {before['name']}" in changed.stdout, str(changed)
    assert only_pod(namespace, name)["metadata"]["uid"] == before["uid"]
    running.wait(90).ok()
    namespace.kubectl("buildkit", "create", name, AMD64, "--labels=team=ci", "--bootstrap").ok()
    after = only_pod(namespace, name)["metadata"]
    assert after["uid"] != before["uid"]
    assert after["labels"]["team"] == "ci"


def test_create_from_what_a_dry_run_printed_makes_that_builder(namespace: Namespace, temporary: Temporary, tmp_path: Path) -> None:
    name = temporary("filed")
    before = namespace.objects()
    flags = (name, AMD64, "--labels=team=ci", "--cache=emptydir,size=1Gi", "-o", "yaml")
    printed = namespace.kubectl("buildkit", "create", *flags, "--dry-run=client").ok().stdout
    served = [item for item in yaml.safe_load_all(namespace.kubectl("buildkit", "create", *flags, "--dry-run=server").ok().stdout) if item]
    assert namespace.objects() == before
    kinds = [item["kind"] for item in yaml.safe_load_all(printed)]
    assert [item["kind"] for item in served] == kinds
    (shown,) = [item for item in served if item["kind"] == "StatefulSet"]
    assert shown["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst", "the server's own default is shown"

    file = tmp_path / "builder.yaml"
    file.write_text(printed)
    assert namespace.kubectl("buildkit", "create", "--from-file", file).ok().stdout == f'builder "{name}" created\n'
    assert namespace.kubectl("buildkit", "create", "-f", "-", stdin=printed).ok().stdout == f'builder "{name}" unchanged\n'
    assert namespace.kubectl("get", "statefulset", f"{name}-amd64", "-o", "jsonpath={.metadata.labels.team}").ok().stdout == "ci"
    again = [item for item in yaml.safe_load_all(namespace.kubectl("buildkit", "create", *flags, "--dry-run=server").ok().stdout) if item]
    assert [item["kind"] for item in again] == kinds
