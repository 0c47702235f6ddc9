from __future__ import annotations

import pytest

from kubectl_build.builder.defaults import load_defaults
from kubectl_build.builder.find import find_builder, list_builders
from kubectl_build.builder.manifests import render
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.cluster.client import CONFIGMAPS, PODS, STATEFULSETS, KubeClient
from kubectl_build.errors import ConfigError, Forbidden
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes, until
from tests.unit.builder.controller import run_controller


def _add_builder(api: FakeKubeApi, name: str, namespace: str = "default", *, pools: tuple[str, ...] = ("amd64",)) -> None:
    manifests = render(name, namespace, BuilderSpec(), pools)
    api.add(CONFIGMAPS, manifests.config_map)
    for item in manifests.stateful_sets.values():
        api.add(STATEFULSETS, item)


async def test_find_builder_reads_three_lists_and_nothing_else(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, "b")
    api.add(CONFIGMAPS, {"metadata": {"name": "b-other", "labels": {"app.kubernetes.io/instance": "b"}}})

    builder = await find_builder(client, "b", emit=notes)

    assert builder is not None
    assert builder.spec == BuilderSpec()
    assert sorted(request.path.rpartition("/")[2] for request in api.requests) == ["configmaps", "pods", "statefulsets"]
    assert await find_builder(client, "c", emit=notes) is None
    assert notes == []


async def test_find_builder_with_the_right_to_list_pods_alone_says_what_is_missing(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    _add_builder(api, "b")
    async with run_controller(api):
        await until(lambda: api.find(PODS, "b-amd64-0"))
    api.fail("GET", "/configmaps", 403)
    api.fail("GET", "/statefulsets", 403)

    builder = await find_builder(client, "b", emit=notes)

    assert builder is not None
    assert [pod.usable for pod in builder.pods] == [True]
    assert sorted(notes.texts) == [
        "what configmaps say about the builder is not known: you may not list configmaps",
        "what statefulsets say about the builder is not known: you may not list statefulsets",
    ]


async def test_find_builder_without_the_right_to_list_pods_is_forbidden(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("GET", "/pods", 403)

    with pytest.raises(Forbidden):
        await find_builder(client, "b", emit=notes)


async def test_list_builders_of_all_namespaces_is_sorted(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, "z", "a")
    _add_builder(api, "b", "default", pools=("arm64", "amd64"))
    _add_builder(api, "a", "default", pools=())

    everywhere = await list_builders(client, all_namespaces=True, emit=notes)

    assert [(item.namespace, item.name) for item in everywhere] == [("a", "z"), ("default", "a"), ("default", "b")]
    assert [item.name for item in await list_builders(client, emit=notes)] == ["a", "b"]
    assert everywhere[2].architectures == ("amd64", "arm64")


def _add_defaults(api: FakeKubeApi, namespace: str, text: str, key: str = "builder.yaml") -> None:
    api.add(CONFIGMAPS, {"metadata": {"name": "kubectl-build-defaults", "namespace": namespace}, "data": {key: text}})


async def test_defaults_of_the_namespace_replace_those_of_the_cluster_whole(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    assert await load_defaults(client, notes) == BuilderSpec()

    _add_defaults(api, "kube-public", "image: public:1\nqemuInstall: true")
    assert await load_defaults(client, notes) == BuilderSpec(image="public:1", qemu_install=True)

    _add_defaults(api, "default", "image: near:1")
    assert await load_defaults(client, notes) == BuilderSpec(image="near:1")
    assert notes == []


async def test_defaults_that_may_not_be_read_are_one_note(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("GET", "/configmaps/", 403)

    assert await load_defaults(client, notes) == BuilderSpec()
    assert notes.texts == [
        'defaults for builders are not used: you may not read ConfigMap "kubectl-build-defaults" in namespace "default" and "kube-public"'
    ]


async def test_defaults_of_the_cluster_are_used_where_those_of_the_namespace_may_not_be_read(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    _add_defaults(api, "kube-public", "image: public:1")
    api.fail("GET", "/namespaces/default/configmaps/", 403)

    assert await load_defaults(client, notes) == BuilderSpec(image="public:1")
    assert notes.texts == ['defaults for builders are not used: you may not read ConfigMap "kubectl-build-defaults" in namespace "default"']


@pytest.mark.parametrize(("text", "key"), [("imagee: x", "builder.yaml"), ("image: x", "builder.yml")])
async def test_defaults_that_are_malformed_are_an_error_that_quotes_them(
    api: FakeKubeApi, client: KubeClient, notes: Notes, text: str, key: str
) -> None:
    _add_defaults(api, "kube-public", text, key)

    with pytest.raises(ConfigError, match=r'ConfigMap "kubectl-build-defaults" in namespace "kube-public".*"(imagee|builder\.yml)"'):
        await load_defaults(client, notes)
