from __future__ import annotations

from dataclasses import replace

import pytest

from kubectl_build.builder.create import create_builder
from kubectl_build.builder.recorded import Recorded, base_of_change, read_recorded
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import BuilderSpec, ClientFile, RegistrySettings, SpecChange, merge
from kubectl_build.builder.state import PodInfo
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.cluster.client import CONFIGMAPS, SECRETS, KubeClient
from kubectl_build.errors import ClusterError, ConfigError, Conflict, UsageError
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes

KEY = "r_5000-0.key"
SPEC = BuilderSpec(
    image="i:1",
    replicas=2,
    resources={"requests": {"cpu": "1"}, "limits": {"memory": "8Gi"}},
    env={"A": "1", "HTTPS_PROXY": "http://p"},
    cache=CacheVolume(kind="pvc", size="1Gi"),
    pod=PodShape(node_selector={"disk.example/kind": "ssd"}, priority_class="high"),
    registries={"r.example:5000": RegistrySettings(http=True)},
    buildkitd_config="debug = true\n",
    client_files={KEY: ClientFile.of("private")},
)


async def _idle(_pod: PodInfo) -> int:
    return 0


async def _make(client: KubeClient, notes: Notes, spec: BuilderSpec, over: Recorded | None = None) -> None:
    await create_builder(client, "b", spec, active_builds=_idle, emit=notes, over=over)


async def test_recorded_spec_is_whole_with_the_contents_of_its_files(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    assert await read_recorded(client, "b") is None
    await _make(client, notes, SPEC)

    recorded = await read_recorded(client, "b")

    assert recorded == Recorded(spec=SPEC)
    assert recorded.spec is not None
    assert recorded.spec.client_files[KEY].content == "private"


@pytest.mark.parametrize("data", [None, {}, {KEY: "b3RoZXI="}, {KEY: "?"}])
async def test_file_that_the_secret_no_longer_has_is_an_error_and_not_forgotten(
    api: FakeKubeApi, client: KubeClient, notes: Notes, data: dict[str, str] | None
) -> None:
    await _make(client, notes, SPEC)
    secret = api.find(SECRETS, "b-certs")
    assert secret is not None
    if data is None:
        api.remove(SECRETS, "b-certs")
    else:
        secret["data"] = data
    recorded = await read_recorded(client, "b")
    assert recorded is not None

    spec = base_of_change("b", recorded, BuilderSpec(), ())
    with pytest.raises(ConfigError, match=rf'"{KEY}" of builder "b" is not in its Secret "b-certs"'):
        await _make(client, notes, spec, recorded)
    await _make(client, notes, base_of_change("b", recorded, BuilderSpec(), ["buildkitdConfig"]), recorded)


async def test_spec_of_somebody_elses_object_is_not_read(api: FakeKubeApi, client: KubeClient) -> None:
    api.add(CONFIGMAPS, {"metadata": {"name": "b"}, "data": {"builder.yaml": "image: x"}})
    with pytest.raises(ClusterError, match="does not belong to builder"):
        await read_recorded(client, "b")


async def test_create_over_what_somebody_has_changed_meanwhile_is_a_conflict(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    await _make(client, notes, BuilderSpec(env={"A": "1"}))
    read = await read_recorded(client, "b")
    assert read is not None
    assert read.spec is not None
    await _make(client, notes, BuilderSpec(env={"A": "1"}, image="theirs:1"), read)

    ours = merge(read.spec, SpecChange(env={"B": "2"}))
    with pytest.raises(Conflict, match="it says something else than when it was read"):
        await _make(client, notes, ours, read)
    # Two who want the same do not fight.
    await _make(client, notes, BuilderSpec(env={"A": "1"}, image="theirs:1"), read)


def test_base_without_reset_is_all_that_was_recorded_but_the_size() -> None:
    base = base_of_change("b", Recorded(spec=SPEC), BuilderSpec(image="default"), ())
    assert base == replace(SPEC, replicas=None)


def test_base_with_names_taken_back_has_the_defaults_there() -> None:
    defaults = BuilderSpec(image="company:1", env={"HTTPS_PROXY": "http://company"}, pod=PodShape(labels={"team": "ci"}))
    names = ["image", "env.HTTPS_PROXY", "env.A", "nodeSelector.disk.example/kind", "resources.limits", "cache", "labels.team", "spread"]

    base = base_of_change("b", Recorded(spec=SPEC), defaults, names)

    assert base == replace(
        SPEC,
        image="company:1",
        replicas=None,
        env={"HTTPS_PROXY": "http://company"},
        resources={"requests": {"cpu": "1"}},
        cache=CacheVolume(),
        pod=PodShape(priority_class="high", labels={"team": "ci"}),
    )
    assert base.client_files[KEY].content == "private"


def test_base_takes_a_host_of_registries_and_the_size_back() -> None:
    base = base_of_change("b", Recorded(spec=SPEC), BuilderSpec(), ["registries.r.example:5000", "replicas"])
    assert (base.registries, base.replicas) == ({}, 1)
    assert base_of_change("b", Recorded(spec=SPEC), BuilderSpec(replicas=3), ["replicas"]).replicas == 3


def test_base_with_all_taken_back_is_the_defaults() -> None:
    defaults = BuilderSpec(image="company:1")
    assert base_of_change("b", Recorded(spec=SPEC), defaults, ["all"]) == replace(defaults, replicas=1)
    assert base_of_change("b", Recorded(spec=None, problem="x"), defaults, ["all"]).image == "company:1"


def test_base_from_what_cannot_be_understood_says_how_to_begin_anew() -> None:
    with pytest.raises(ConfigError, match="no such name") as caught:
        base_of_change("b", Recorded(spec=None, problem="no such name"), BuilderSpec(), ["image"])
    assert caught.value.hint is not None
    assert "kubectl buildkit create b --reset all" in caught.value.hint


@pytest.mark.parametrize("name", ["limits", "imagee", "clientFiles", "", "env_A"])
def test_base_without_a_name_that_is_known_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f'--reset "{name}" is not known'):
        base_of_change("b", Recorded(spec=SPEC), BuilderSpec(), [name])
