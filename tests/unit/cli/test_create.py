"""`create`: its flags, buildx's spelling of them, and the files that it reads."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.builder.manifests import render, to_yaml
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import BuilderSpec, ClientFile, RegistrySettings, SpecChange, merge
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.cli.buildkit import app
from kubectl_build.cli.creating import Creation
from kubectl_build.cli.main import run_app
from kubectl_build.model.kubeflags import KubeFlags

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

Asked = tuple[Creation, KubeFlags]
Create = Callable[..., Asked]


@pytest.fixture
def create(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Create:
    """Runs `create` up to where the cluster would be asked."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> Asked:
        begun: list[Asked] = []

        def begin(creation: Creation, cluster: KubeFlags, **_: Any) -> int:
            begun.append((creation, cluster))
            return 0

        monkeypatch.setattr("kubectl_build.cli.creating.create_builders_objects", begin)
        assert run_app(app, "kubectl buildkit", ["create", *argv]) == 0
        (only,) = begun
        return only

    return run


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a `create` that fails before the cluster is asked, and returns what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    def run(*argv: str, code: int = 2) -> str:
        assert run_app(app, "kubectl buildkit", ["create", *argv]) == code
        return capsys.readouterr().err

    return run


def _spec(asked: Asked) -> BuilderSpec:
    return merge(BuilderSpec(), asked[0].change)


def test_create_without_flags_asks_for_nothing(create: Create) -> None:
    creation, _ = create()

    assert creation == Creation(name="buildkit", change=SpecChange(pod=PodShape()))
    assert _spec((creation, KubeFlags())) == BuilderSpec()


def test_create_every_flag_of_the_pods_is_in_the_spec(create: Create, tmp_path: Path) -> None:
    (tmp_path / "affinity.yaml").write_text("nodeAffinity: {a: 1}\n")
    (tmp_path / "pod.yaml").write_text("spec: {hostname: h}\n")

    spec = _spec(
        create(
            "b",
            "--requests=cpu=2",
            "--limits=memory=1Gi,cpu=4",
            "--node-selector=disk=ssd,zone=a",
            "--tolerations=dedicated=builds:NoSchedule,gpu",
            "--tolerations=spot:NoExecute",
            "--affinity=affinity.yaml",
            "--spread=topology.kubernetes.io/zone,kubernetes.io/hostname:hard",
            "--priority-class=low",
            "--service-account=builder",
            "--image-pull-secrets=one,two",
            "--runtime-class=kata",
            "--scheduler-name=mine",
            '--annotations="note=a,b",x=y',
            "--labels=team=ci",
            "--host-network",
            "--grace-period=10m",
            "--pod-template=pod.yaml",
        )
    )

    assert spec.resources == {"requests": {"cpu": "2", "memory": "256Mi"}, "limits": {"memory": "1Gi", "cpu": "4"}}
    assert spec.pod == PodShape(
        node_selector={"disk": "ssd", "zone": "a"},
        tolerations=(
            {"key": "dedicated", "operator": "Equal", "value": "builds", "effect": "NoSchedule"},
            {"key": "gpu", "operator": "Exists"},
            {"key": "spot", "operator": "Exists", "effect": "NoExecute"},
        ),
        affinity={"nodeAffinity": {"a": 1}},
        spread=("topology.kubernetes.io/zone", "kubernetes.io/hostname:hard"),
        priority_class="low",
        service_account="builder",
        image_pull_secrets=("one", "two"),
        runtime_class="kata",
        scheduler_name="mine",
        annotations={"note": "a,b", "x": "y"},
        labels={"team": "ci"},
        host_network=True,
        grace_seconds=600,
        template={"spec": {"hostname": "h"}},
    )


def test_create_every_flag_of_the_daemon_is_in_the_spec(create: Create, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").write_text(CA)
    (tmp_path / "buildkitd.toml").write_text('debug = true\n[registry."r:5000"]\nhttp = true\n')
    monkeypatch.setenv("HERE", "there")

    spec = _spec(
        create(
            "--image=i:1",
            "--replicas=2",
            "--cache=pvc,size=20Gi,class=fast,keep=true",
            "--idle-timeout=1h30m",
            "--env=A=1,2",
            "--env=HERE",
            "--http-proxy=http://p:3128",
            "--no-proxy=.svc,10.0.0.0/8",
            "--registry=r:5000,ca=ca.pem,insecure=false",
            "--registry=docker.io,mirror=m:1/hub,mirror=m:2",
            "--allow=network.host",
            "--buildkitd-flags=--allow-insecure-entitlement security.insecure --oci-max-parallelism=4",
            "--config=buildkitd.toml",
            "--qemu-image=q:1",
        )
    )

    assert (spec.image, spec.replicas, spec.idle_seconds, spec.qemu_image) == ("i:1", 2, 5400, "q:1")
    assert spec.cache == CacheVolume(kind="pvc", size="20Gi", storage_class="fast", keep=True)
    assert spec.env == {"A": "1,2", "HERE": "there", "HTTP_PROXY": "http://p:3128", "NO_PROXY": ".svc,10.0.0.0/8"}
    assert spec.registries == {
        "r:5000": RegistrySettings(ca=CA, insecure=False, http=True),
        "docker.io": RegistrySettings(mirrors=("m:1/hub", "m:2")),
    }
    assert (spec.allow, spec.buildkitd_flags) == (("network.host", "security.insecure"), ("--oci-max-parallelism=4",))
    assert spec.buildkitd_config == "debug = true\n"


def test_create_small_limit_takes_the_place_of_the_usual_request(create: Create) -> None:
    assert _spec(create("--limits=memory=128Mi")).resources == {"requests": {"cpu": "100m"}, "limits": {"memory": "128Mi"}}


def test_create_in_words_of_buildx_is_the_same_builder(create: Create) -> None:
    options = [
        "image=i:1",
        "namespace=ns",
        "replicas=3",
        "requests.cpu=1,requests.memory=1Gi,requests.ephemeral-storage=2Gi,limits.cpu=2",
        '"nodeselector=disk=ssd,zone=a"',
        '"tolerations=key=a,operator=Equal,value=b,effect=NoExecute,tolerationSeconds=60;key=c,operator=Exists"',
        '"annotations=x=1,y=2","labels=team=ci"',
        "serviceaccount=builder,schedulername=mine,loadbalance=sticky",
        "qemu.install=true,qemu.image=q:1",
        "timeout=5m,default-load=false",
        "env.HTTP_PROXY=http://p",
        "persistent-volume-claim.requests.storage=10Gi",
        "network=host",
    ]
    creation, cluster = create(
        "--name=b", "--use", "--driver=kubernetes", "--bootstrap", "--platform=linux/amd64", *(f"--driver-opt={text}" for text in options)
    )
    spec = merge(BuilderSpec(), creation.change)

    assert (creation.name, creation.use, creation.bootstrap, creation.ready_timeout, cluster.namespace) == ("b", True, True, "5m", "ns")
    assert (spec.image, spec.replicas, spec.qemu_install, spec.qemu_image) == ("i:1", 3, True, "q:1")
    assert spec.resources == {"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "2Gi"}, "limits": {"cpu": "2"}}
    assert spec.cache == CacheVolume(kind="pvc", size="10Gi")
    assert (spec.env, spec.allow) == ({"HTTP_PROXY": "http://p"}, ("network.host",))
    assert spec.pod == PodShape(
        node_selector={"disk": "ssd", "zone": "a"},
        tolerations=(
            {"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 60},
            {"key": "c", "operator": "Exists"},
        ),
        annotations={"x": "1", "y": "2"},
        labels={"team": "ci"},
        service_account="builder",
        scheduler_name="mine",
        host_network=True,
    )


def test_create_own_flags_go_over_those_of_buildx(create: Create) -> None:
    spec = _spec(
        create(
            "--driver-opt=image=i:1,requests.cpu=1,requests.memory=1Gi,buildkit-root-volume-memory=1Gi", "--image=i:2", "--requests=cpu=3"
        )
    )

    assert (spec.image, spec.cache) == ("i:2", CacheVolume(kind="memory", size="1Gi"))
    assert spec.resources == {"requests": {"cpu": "3", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--driver=docker-container"], ['driver "docker-container"', "pods in a cluster"]),
        (["--driver=remote"], ['driver "remote"']),
        (["--append"], ["--append", "--platform"]),
        (["--leave"], ["--leave"]),
        (["--node=n"], ['--node "n"', "--node-selector"]),
        (["a", "--name=b"], ['"a" (NAME)', '"b" (--name)']),
        (["-n", "x", "--driver-opt=namespace=y"], ['"x"', '"y"']),
        (["--driver-opt=loadbalance=random"], ["loadbalance=random"]),
        (["--driver-opt=default-load=true"], ["default-load=true", "--push"]),
        (["--driver-opt=network=none"], ["network=none"]),
        (["--driver-opt=cpu=1"], ['"cpu"', "requests.cpu"]),
        (["--driver-opt=requests.disk=1"], ['"requests.disk"']),
        (["--driver-opt=image"], ['"image"', "KEY=VALUE"]),
        (["--driver-opt=replicas=many"], ["replicas=many"]),
        (["--driver-opt=qemu.install=perhaps"], ["qemu.install=perhaps"]),
        (["--driver-opt=tolerations=taint=x"], ['"taint"']),
        (["--cache=disk"], ['"disk"', "pvc"]),
        (["--cache=pvc"], ["needs a size", "--cache pvc,size="]),
        (["--cache=pvc,size=much"], ['"much"', "20Gi"]),
        (["--cache=pvc,size=1"], ['"1"']),
        (["--cache=memory,size=1Gi,keep=true"], ['"memory"']),
        (["--cache=pvc,volume=x"], ['"volume=x"']),
        (["--requests=cpu"], ['"cpu"', "NAME=VALUE"]),
        (["--limits=memory=lots"], ['"lots"']),
        (["--allow=everything"], ['"everything"', "network.host"]),
        (["--buildkitd-flags=--root /x"], ['"--root"', "--cache"]),
        (["--buildkitd-flags=--addr=tcp://0.0.0.0:1234"], ["--addr"]),
        (["--buildkitd-flags='open"], ["cannot be split"]),
        (["--buildkitd-flags=--allow-insecure-entitlement"], ["needs a value"]),
        (["--tolerations=a:Never"], ['"a:Never"', "NoSchedule"]),
        (["--tolerations==b"], ["no key"]),
        (["--labels=app.kubernetes.io/instance=x"], ['"app.kubernetes.io/instance"']),
        (["--annotations=kubectl-build/config-hash=x"], ['"kubectl-build/config-hash"']),
        (["--env=NO_SUCH_VARIABLE_HERE"], ['"NO_SUCH_VARIABLE_HERE"']),
        (["--registry=ca=x"], ["does not begin with a host"]),
        (["--registry=r,cert=x"], ['"cert=x"']),
        (["--registry=http://r"], ['"http://r"', "HOST,http"]),
        (["--registry=r,ca=none.pem"], ['"none.pem"']),
        (["--idle-timeout=soon"], ['"soon"']),
        (["--pod-template=none.yaml"], ['"none.yaml"']),
        (["--from-file=none.yaml"], ['"none.yaml"']),
        (["-o", "yaml"], ["--dry-run"]),
        (["--with-rbac"], ["--with-rbac", "--dry-run=client"]),
        (["--with-rbac", "--dry-run=server"], ["--with-rbac", "--dry-run=client"]),
    ],
)
def test_create_what_cannot_be_is_refused_in_words(refused: Callable[..., str], argv: list[str], words: list[str]) -> None:
    said = refused(*argv)

    assert [word for word in words if word not in said] == [], said


def _printed(spec: BuilderSpec) -> str:
    return to_yaml(render("made", "", spec, ("amd64", "arm64")).objects)


def test_create_from_the_file_that_a_dry_run_printed_is_the_same_builder(create: Create, tmp_path: Path) -> None:
    spec = BuilderSpec(
        image="i:1",
        replicas=2,
        env={"A": "1"},
        cache=CacheVolume(kind="pvc", size="1Gi"),
        pod=PodShape(labels={"team": "ci"}, grace_seconds=90),
        registries={"r:5000": RegistrySettings(ca=CA)},
        client_files={"r_5000-0.key": ClientFile.of("private")},
        idle_seconds=60,
    )
    (tmp_path / "builder.yaml").write_text(_printed(spec))

    creation, _ = create("--from-file=builder.yaml", "--image=i:2")

    assert creation.file is not None
    assert (creation.name, creation.file.architectures) == ("made", ("amd64", "arm64"))
    assert merge(merge(BuilderSpec(), creation.file.change), creation.change) == merge(spec, SpecChange(image="i:2"))
    assert creation.file.change.client_files is not None
    assert creation.file.change.client_files["r_5000-0.key"].content == "private"


def test_create_from_a_file_goes_where_the_file_says(create: Create, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(to_yaml(render("made", "ns", BuilderSpec(), ()).objects))

    assert create("-f", "f.yaml")[1].namespace == "ns"
    assert '"other" (--namespace)' in refused("-f", "f.yaml", "-n", "other")


def test_create_reset_takes_names_and_is_not_for_a_file(create: Create, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(_printed(BuilderSpec()))

    assert create("--reset=image,env.A", "--reset", "cache")[0].reset == ("image", "env.A", "cache")
    assert "--from-file replaces all of that" in refused("--reset=all", "-f", "f.yaml")


def test_create_from_stdin(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(_printed(BuilderSpec())))

    assert create("-f", "-", "mine")[0].name == "mine"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("kind: Deployment\n", "Deployment"),
        ("{", "not YAML"),
        ("- a\n", "document"),
        ("", "0 ConfigMaps"),
        (_printed(BuilderSpec()) + "---\n" + _printed(BuilderSpec()), "2 ConfigMaps"),
        ("kind: ConfigMap\nmetadata: {name: x}\n", "data"),
        ("kind: ConfigMap\nmetadata: {name: x}\ndata: {builder.yaml: 'imagee: x'}\n", '"imagee"'),
        (_printed(BuilderSpec(client_files={"k": ClientFile(digest="sha256:" + "0" * 64)})), '"k"'),
    ],
)
def test_create_from_a_file_with_a_mistake_says_which(refused: Callable[..., str], tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "f.yaml").write_text(text)

    assert word in refused("--from-file=f.yaml", code=3)
