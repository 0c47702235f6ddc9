"""Each way to fail: its exit code, the words that name the thing, told soon, and nothing left in the cluster that was not there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import Kubectl, Namespace, Result
from tests.e2e.registry import Registry
from tests.e2e.users import add_users, as_user

SECONDS = 15.0
"""How long an error may take to be told, starting a builder included."""
PLAIN = "FROM scratch\nCOPY Dockerfile /\n"
RUNS = "FROM busybox\nRUN true\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A command line after `kubectl build CONTEXT`, and what must come of it."""

    flags: str
    code: int
    words: tuple[str, ...]
    dockerfile: str | None = PLAIN


def refused(result: Result, case: Case) -> None:
    result.failed(case.code, *case.words)
    assert result.seconds < SECONDS, str(result)


WITHOUT_BUILDER = {
    "unknown flag": Case("--frobnicate", 2, ("--frobnicate", "--help")),
    "bad platform": Case("--platform=linux/amd64/v1/v2", 2, ("linux/amd64/v1/v2",)),
    "unknown platform": Case("--platform=linux/amd64,amd46", 2, ("amd46",)),
    "value of a flag": Case("--progress=loud", 2, ("--progress", "loud")),
    "unknown output type": Case("-o type=floppy,dest=x", 2, ("floppy",)),
    "registry output without a name": Case("-o type=registry", 2, ("registry", "name=")),
    "bad reference": Case("-t registry.example/Upper:v1", 2, ("registry.example/Upper:v1",)),
    "bad tag": Case("-t registry.example/app:a:b", 2, ("registry.example/app:a:b",)),
    "push without a name": Case("--push", 2, ("-t",)),
    "no Dockerfile": Case("", 2, ("Dockerfile", "-f"), None),
    "no such Dockerfile": Case("-f nowhere/Dockerfile", 2, ("nowhere/Dockerfile",)),
    "kubeconfig missing": Case("--kubeconfig=/nowhere/config", 3, ("/nowhere/config",)),
    "context missing": Case("--context=nowhere", 3, ("nowhere",)),
    "server down": Case("--server=https://127.0.0.1:1", 4, ("127.0.0.1:1", "refused")),
    "namespace missing": Case("--namespace=nowhere", 4, ('namespace "nowhere"',)),
    "secret missing": Case("--registry-secret=nowhere", 3, ('"nowhere"', "create secret docker-registry")),
    "second secret missing": Case("--registry-secret=my-secret --registry-secret=nowhere", 3, ('"nowhere"',)),
    "secret of another type": Case("--registry-secret=opaque", 3, ('"opaque"', "Opaque")),
    "secret malformed": Case("--registry-secret=malformed", 3, ('"malformed"',)),
    "secret forbidden": Case("--registry-secret=my-secret --as=nobody", 3, ('"my-secret"', "nobody")),
    "everything forbidden": Case("--as=nobody", 4, ("nobody", "pods")),
}


@pytest.mark.parametrize("case", WITHOUT_BUILDER.values(), ids=WITHOUT_BUILDER.keys())
def test_errors_before_the_builder_are_told_and_make_nothing(namespace: Namespace, context: Callable[..., Path], case: Case) -> None:
    kubectl = namespace.kubectl
    if "opaque" in case.flags:
        kubectl("create", "secret", "generic", "opaque", "--from-literal=.dockerconfigjson={}").ok()
    if "malformed" in case.flags:
        data = '--from-literal=.dockerconfigjson={"auths": "no"}'
        kubectl("create", "secret", "generic", "malformed", "--type=kubernetes.io/dockerconfigjson", data).ok()
    tree = context({"Dockerfile": case.dockerfile} if case.dockerfile else {})
    refused(kubectl("build", tree, *case.flags.split()), case)
    assert namespace.objects() == set()


def test_errors_context_that_is_not_there_is_named(namespace: Namespace) -> None:
    refused(namespace.kubectl("build", "/nowhere/at/all"), Case("", 2, ("/nowhere/at/all",)))


def test_errors_kubeconfig_that_is_no_yaml_is_named(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "config").write_text("{this is: [no yaml\n")
    result = namespace.kubectl.with_env(KUBECONFIG=str(tmp_path / "config")).plugin("build", context({"Dockerfile": PLAIN}))
    refused(result, Case("", 3, (str(tmp_path / "config"),)))


@pytest.mark.parametrize("text", ["just words", "clusters: 3", "clusters: [1]"])
def test_errors_kubeconfig_of_another_shape_is_named(namespace: Namespace, context: Callable[..., Path], tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    result = namespace.kubectl.with_env(KUBECONFIG="").plugin("build", context({"Dockerfile": PLAIN}), f"--kubeconfig={tmp_path}/config")
    refused(result, Case("", 3, (str(tmp_path / "config"),)))


def test_errors_server_with_another_authority_is_not_trusted(namespace: Namespace, context: Callable[..., Path]) -> None:
    foreign = f"--certificate-authority={namespace.cluster.ca}"
    refused(namespace.kubectl("build", context({"Dockerfile": PLAIN}), foreign), Case("", 4, ("certificate",)))
    assert namespace.objects() == set()


def test_errors_user_who_may_not_make_a_builder_is_told_what_and_where(
    namespace: Namespace, context: Callable[..., Path], tmp_path: Path
) -> None:
    own = looks_only(namespace, tmp_path)
    flags = "--platform=linux/amd64"
    refused(own("build", context({"Dockerfile": PLAIN}), flags), Case("", 4, ("looks-only", "configmaps", namespace.name)))
    assert namespace.objects() == set()


def test_errors_builder_that_was_made_before_is_kept_when_its_image_cannot_be_pulled(
    make_namespace: Callable[[str], Namespace], context: Callable[..., Path]
) -> None:
    namespace = make_namespace("kept")
    image = f"{namespace.cluster.insecure_registry}/no/such/buildkit:v1"
    namespace.kubectl("buildkit", "create", "--platform=linux/amd64", f"--image={image}").ok()
    refused(namespace.kubectl("build", context({"Dockerfile": PLAIN})), Case("", 4, (image, "pull")))
    assert {"ConfigMap/buildkit", "StatefulSet/buildkit-amd64"} <= namespace.objects()
    namespace.kubectl("buildkit", "rm", "buildkit").ok()
    assert namespace.objects() == set()


def test_errors_image_that_cannot_be_pulled_is_told_and_its_builder_removed(
    make_namespace: Callable[[str], Namespace], context: Callable[..., Path]
) -> None:
    namespace = make_namespace("no-image")
    image = f"{namespace.cluster.insecure_registry}/no/such/buildkit:v1"
    namespace.kubectl.apply(defaults({"image": image}))
    refused(namespace.kubectl("build", context({"Dockerfile": PLAIN})), Case("", 4, (image, "pull")))
    assert namespace.objects() == set()


WITH_BUILDER = {
    "step that fails": Case(
        "", 1, ("say why", ">>> RUN echo say why; exit 7", "Dockerfile:2", "7"), "FROM busybox\nRUN echo say why; exit 7\n"
    ),
    "Dockerfile that is wrong": Case("", 1, ("FRUM", "Dockerfile:1"), "FRUM busybox\n"),
    "target missing": Case("--target=no-stage", 1, ("no-stage",)),
    "file of COPY missing": Case("", 1, ("not-there", "COPY not-there"), "FROM scratch\nCOPY not-there /\n"),
    "RUN for windows": Case(
        "--platform=windows/amd64", 2, ("windows/amd64", "dir"), "FROM mcr.microsoft.com/windows/nanoserver:1809\nRUN dir\n"
    ),
    "no node and no emulation": Case("--platform=linux/s390x --emulation=never", 2, ("linux/s390x", "emulation"), RUNS),
    "no node and no emulator": Case("--platform=linux/ppc64le", 2, ("linux/ppc64le", "emulator"), RUNS),
    "base image missing": Case("", 6, ("REGISTRY/no/such:image",), "FROM REGISTRY/no/such:image\n"),
    "wrong password": Case("-t REGISTRY/e2e/wrong:v1 --push --registry-secret=wrong", 6, ("REGISTRY", "unauthorized", "--registry-secret")),
    "wrong password, two pools": Case(
        "-t REGISTRY/e2e/wrong:v1 --push --registry-secret=wrong --platform=linux/amd64,linux/arm64", 6, ("REGISTRY", "unauthorized"), RUNS
    ),
    "no login": Case("-t REGISTRY/e2e/anonymous:v1 --push", 6, ("REGISTRY", "--registry-secret")),
    "registry down": Case("-t HOST:5999/e2e/down:v1 --push", 6, ("HOST:5999", "refused")),
}


@pytest.fixture(scope="module")
def builder(make_namespace: Callable[[str], Namespace]) -> Namespace:
    """A namespace whose builder runs in both pools."""
    namespace = make_namespace("errors-builder")
    namespace.secret("my-secret")
    namespace.secret("wrong", password="wrong")
    namespace.kubectl("buildkit", "create", "--bootstrap").ok()
    assert namespace.stateful_sets() == {"buildkit-amd64", "buildkit-arm64"}
    return namespace


@pytest.mark.parametrize("case", WITH_BUILDER.values(), ids=WITH_BUILDER.keys())
def test_errors_of_a_build_are_told_and_leave_the_builder_as_it_was(builder: Namespace, context: Callable[..., Path], case: Case) -> None:
    def fill(text: str) -> str:
        return text.replace("REGISTRY", builder.cluster.registry).replace("HOST", builder.cluster.registry.rpartition(":")[0])

    before = builder.objects()
    result = builder.kubectl("build", context({"Dockerfile": fill(case.dockerfile or "")}), *fill(case.flags).split())
    refused(result, Case("", case.code, tuple(map(fill, case.words))))
    assert builder.objects() == before


def test_errors_step_that_fails_shows_the_end_of_a_long_log_only(builder: Namespace, context: Callable[..., Path]) -> None:
    tree = context({"Dockerfile": "FROM busybox\nRUN seq 1 300 && exit 42\n"})
    result = builder.kubectl("build", tree, "--progress=quiet")
    refused(result, Case("", 1, ("exit code: 42",)))
    told = result.stderr.splitlines()
    assert "300" in told, str(result)
    assert "1" not in told, str(result)


def test_errors_wrong_password_tags_nothing(builder: Namespace, registry: Registry, context: Callable[..., Path]) -> None:
    repository = builder.repository("wrong")
    name = f"{builder.cluster.registry}/{repository}:v1"
    builder.kubectl("build", context({"Dockerfile": PLAIN}), "-t", name, "--push", "--registry-secret=wrong").failed(6)
    assert registry.tags(repository) == []


def test_errors_unreadable_file_in_the_context_is_named(builder: Namespace, context: Callable[..., Path]) -> None:
    tree = context({"Dockerfile": "FROM scratch\nCOPY . /\n", "data/closed": "x"})
    (tree / "data/closed").chmod(0)
    kubectl = builder.kubectl
    if os.geteuid() == 0:  # root reads everything, unless it gives that right away
        kubectl = kubectl.with_prefix("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    refused(kubectl("build", tree), Case("", 2, ("data/closed", "permission denied")))


def test_errors_role_without_exec_is_told_with_the_right_that_is_missing(
    builder: Namespace, context: Callable[..., Path], tmp_path: Path
) -> None:
    own = looks_only(builder, tmp_path)
    before = builder.objects()
    refused(own("build", context({"Dockerfile": PLAIN})), Case("", 4, ("pods/exec", "looks-only", builder.name)))
    assert builder.objects() == before


def test_errors_registry_with_another_ca_is_told(
    make_namespace: Callable[[str], Namespace], context: Callable[..., Path], registry: Registry, tmp_path: Path
) -> None:
    """The builder's defaults, which replace the cluster's own whole, give the registry a CA that did not sign its certificate."""
    namespace = make_namespace("wrong-ca")
    namespace.secret("my-secret")
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=other -keyout key -out ca"
    subprocess.run(new.split(), cwd=tmp_path, check=True, capture_output=True, timeout=20)
    namespace.kubectl.apply(
        defaults({"image": builder_image(namespace), "registries": {namespace.cluster.registry: {"ca": (tmp_path / "ca").read_text()}}})
    )
    repository = namespace.repository("ca")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    result = namespace.kubectl("build", context({"Dockerfile": PLAIN}), "-t", name, "--push", "--registry-secret=my-secret")
    refused(result, Case("", 6, (namespace.cluster.registry, "certificate")))
    assert registry.tags(repository) == []


def test_errors_malformed_defaults_are_named_and_make_nothing(
    make_namespace: Callable[[str], Namespace], context: Callable[..., Path]
) -> None:
    namespace = make_namespace("bad-defaults")
    namespace.kubectl.apply(defaults({"imgae": "x"}))
    refused(namespace.kubectl("build", context({"Dockerfile": PLAIN})), Case("", 3, ("kubectl-build-defaults", '"imgae"')))
    assert namespace.objects() == set()


def defaults(values: dict[str, Any]) -> dict[str, Any]:
    """The ConfigMap from which a builder in its namespace starts."""
    metadata = {"name": "kubectl-build-defaults"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"builder.yaml": json.dumps(values)}}


def builder_image(namespace: Namespace) -> str:
    """The image that builders have here without being told."""
    rendered = namespace.kubectl("buildkit", "create", "x", "--platform=linux/amd64", "--dry-run=client", "-o", "yaml").ok().stdout
    return next(line.split()[-1] for line in rendered.splitlines() if line.strip().startswith("image:"))


def looks_only(namespace: Namespace, directory: Path) -> Kubectl:
    """kubectl as a ServiceAccount that may look at builders, and nothing more."""
    reads = [f"{verb} {what}" for what in ("pods", "configmaps", "statefulsets.apps", "events") for verb in ("get", "list", "watch")]
    add_users(namespace, {"looks-only": reads})
    return as_user(namespace, "looks-only", directory, having=["list pods"])
