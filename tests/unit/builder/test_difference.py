from __future__ import annotations

from dataclasses import replace

import pytest

from kubectl_build.builder.difference import change_in_words
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import DEFAULT_IMAGE, BuilderSpec, RegistrySettings
from kubectl_build.builder.volume import CacheVolume

BEFORE = BuilderSpec(
    image="i:1",
    env={"TOKEN": "hush", "A": "1"},
    cache=CacheVolume(kind="pvc", size="1Gi"),
    registries={"r.example": RegistrySettings(http=True)},
    pod=PodShape(node_selector={"disk": "ssd"}),
)


def test_specs_that_are_alike_have_no_difference() -> None:
    assert change_in_words(BEFORE, replace(BEFORE)) == ()


def test_difference_has_values_and_what_is_as_before() -> None:
    after = replace(
        BEFORE,
        image="i:2",
        resources={"requests": {"cpu": "100m", "memory": "1Gi"}},
        pod=PodShape(node_selector={"disk": "ssd", "zone": "b"}, host_network=True),
        allow=("network.host", "device"),
        idle_seconds=120,
    )

    changed, kept = change_in_words(BEFORE, after)

    assert changed == (
        "changed: image i:1 -> i:2, resources.requests.memory 256Mi -> 1Gi, allow unset -> network.host,device, "
        "nodeSelector.zone unset -> b, hostNetwork unset -> true, idleTimeout unset -> 2m"
    )
    assert kept == "as before: env, cache, registries (--reset NAME takes one back to the defaults)"


def test_difference_tells_no_value_that_may_be_secret() -> None:
    after = replace(
        BEFORE,
        env={"TOKEN": "hush2"},
        registries={},
        buildkitd_config='secret = "hush3"\n',
        pod=PodShape(node_selector={"disk": "ssd"}, annotations={"vault": "hush4"}, template={"spec": {"x": "hush5"}}),
    )

    said = " ".join(change_in_words(BEFORE, after))

    assert "hush" not in said
    for name in ("env.TOKEN", "env.A", "registries.r.example", "buildkitdConfig", "annotations.vault", "podTemplate"):
        assert name in said


def test_difference_of_a_volume_is_told_whole() -> None:
    (changed, *_) = change_in_words(BEFORE, replace(BEFORE, cache=CacheVolume(size="2Gi")))
    assert changed == "changed: cache type=pvc,size=1Gi -> type=emptydir,size=2Gi"


@pytest.mark.parametrize(
    ("image", "told"), [("docker.io/moby/buildkit:v0.1.0", True), ("mirror/buildkit:v0.1.0", False), (DEFAULT_IMAGE, False)]
)
def test_image_of_an_earlier_version_that_stays_is_told(image: str, told: bool) -> None:
    before = replace(BEFORE, image=image)
    said = change_in_words(before, replace(before, idle_seconds=60))
    assert any("--reset image" in line and DEFAULT_IMAGE in line for line in said) is told
