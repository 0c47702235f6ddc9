"""Caches that outlive a builder: what a new one finds in a registry, in the image itself and in a directory, over one pool and several."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.kubectl import BuildLog, Namespace, Result
from tests.e2e.registry import Registry

DOCKERFILE = """\
FROM busybox AS first
RUN cat /proc/sys/kernel/random/uuid >/first
FROM busybox
COPY --from=first /first /first
RUN cat /proc/sys/kernel/random/uuid >/second && uname -m >/machine
"""
CHANGED = DOCKERFILE.replace("COPY --from", "RUN true\nCOPY --from")
BOTH = "--platform=linux/amd64,linux/arm64"
POOLS = ("amd64", "arm64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """A build over two pools that wrote a cache of each kind; its builder has been removed since."""

    repository: str
    base: str
    local: Path
    build: Callable[..., Result]


@pytest.fixture(scope="module")
def build(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Build `dockerfile` with the registry's login, telling BuildKit's own status records."""
    directory = tmp_path_factory.mktemp("context")

    def run(*flags: str | Path, dockerfile: str = DOCKERFILE) -> Result:
        (directory / "Dockerfile").write_text(dockerfile)
        return namespace.kubectl("build", directory, "--registry-secret=my-secret", "--progress=rawjson", *flags)

    return run


@pytest.fixture(scope="module")
def written(namespace: Namespace, build: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory) -> Caches:
    repository = namespace.repository("cached")
    base = f"{namespace.cluster.registry}/{repository}"
    local = tmp_path_factory.mktemp("cache") / "local"
    build(
        *(BOTH, "-t", f"{base}:v1", "--push", "--cache-to", f"type=registry,ref={base}:cache,mode=max"),
        *("--cache-to", "type=inline", "--cache-to", f"type=local,dest={local},mode=max"),
    ).ok()
    namespace.kubectl("buildkit", "rm", "buildkit").ok()
    return Caches(repository=repository, base=base, local=local, build=build)


@pytest.fixture
def empty(namespace: Namespace) -> Callable[[], None]:
    """Make the builder of this module as empty as a new one."""

    def forget() -> None:
        for name in namespace.stateful_sets():
            namespace.kubectl("exec", f"{name}-0", "-c", "buildkitd", "--", "buildctl", "prune", "--all").ok()

    forget()
    return forget


def stamps(registry: Registry, repository: str, tag: str) -> dict[str, tuple[bytes, bytes]]:
    """What the commands made up, by platform: the same only where none ran again."""
    return {name: (image.files["first"], image.files["second"]) for name, image in registry.images(repository, tag).items()}


def ran(result: Result) -> list[str]:
    """The RUN steps that ran anew."""
    return [name for name in BuildLog.of(result.ok()).uncached() if "RUN" in name]


def test_caches_of_two_pools_lie_in_places_of_their_own(written: Caches, registry: Registry) -> None:
    assert registry.tags(written.repository) == ["cache-amd64", "cache-arm64", "v1"]
    assert registry.manifest(written.repository, "cache-amd64").digest != registry.manifest(written.repository, "cache-arm64").digest
    index = json.loads((written.local / "index.json").read_text())
    names = {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]}
    assert names == {"latest-amd64", "latest-arm64"}


def test_caches_each_kind_alone_gives_a_new_builder_every_step(written: Caches, empty: Callable[[], None], registry: Registry) -> None:
    before = stamps(registry, written.repository, "v1")
    for kind, source in {
        "registry": f"type=registry,ref={written.base}:cache",
        "inline": f"{written.base}:v1",
        "local": f"type=local,src={written.local}",
    }.items():
        result = written.build(BOTH, "-t", f"{written.base}:{kind}", "--push", "--cache-from", source)
        # An inline cache has the image's own layers only, and these are all that is asked for.
        assert ran(result) == [], f"{kind}\n{result}"
        assert stamps(registry, written.repository, kind) == before, kind
        empty()


def test_caches_of_other_platforms_overwrite_nothing(written: Caches, empty: Callable[[], None], registry: Registry) -> None:
    before = {pool: registry.manifest(written.repository, f"cache-{pool}").digest for pool in POOLS}
    for platform in ("linux/arm64", "linux/386"):
        written.build("--platform", platform, "--cache-to", f"type=registry,ref={written.base}:cache,mode=max").ok()

    assert {pool: registry.manifest(written.repository, f"cache-{pool}").digest for pool in POOLS} == before
    assert "cache" in registry.tags(written.repository)


@pytest.mark.parametrize(("mode", "again"), [("max", 0), ("min", 1)])
def test_caches_mode_decides_whether_a_stage_before_the_last_is_kept(
    written: Caches, empty: Callable[[], None], mode: str, again: int
) -> None:
    """The last stage is changed, so that what it copies is asked for again."""
    ref = f"{written.base}:mode-{mode}"
    written.build("--platform=linux/amd64", "--cache-to", f"type=registry,ref={ref},mode={mode}").ok()
    empty()

    result = written.build("--platform=linux/amd64", "--cache-from", ref, dockerfile=CHANGED)

    assert len([name for name in ran(result) if "first " in name]) == again, str(result)


def test_caches_of_one_pool_are_where_the_user_said(written: Caches, empty: Callable[[], None], registry: Registry, tmp_path: Path) -> None:
    ref, local = f"{written.base}:alone", tmp_path / "local"
    written.build("--platform=linux/amd64", "--cache-to", ref, "--cache-to", f"type=local,dest={local},tag=mine").ok()
    assert "alone" in registry.tags(written.repository)
    assert not {f"alone-{pool}" for pool in POOLS} & set(registry.tags(written.repository))

    for source in (ref, f"type=local,src={local},tag=mine"):
        empty()
        assert ran(written.build("--platform=linux/amd64", "--cache-from", source)) == []


def test_caches_that_cannot_be_pushed_fail_the_build_unless_errors_are_ignored(namespace: Namespace, build: Callable[..., Result]) -> None:
    nobody = "127.0.0.1:9/team/cache:v1"
    for target in (nobody, f"{namespace.cluster.insecure_registry}/team/cache:v1"):
        build("--platform=linux/amd64", "--cache-to", f"type=registry,ref={target}").failed(6, target.partition("/")[0])
    result = build("--platform=linux/amd64", "--cache-to", f"type=registry,ref={nobody},ignore-error=true").ok()
    assert "connection refused" in result.stderr


def test_caches_whose_name_is_no_reference_are_refused_before_the_build(build: Callable[..., Result]) -> None:
    for target in ("not/A/Ref", "type=registry,ref=not/A/Ref,ignore-error=true"):
        build(BOTH, "--cache-to", target).failed(2, "--cache-to", "not/A/Ref")


def test_caches_that_are_not_there_are_no_error(namespace: Namespace, build: Callable[..., Result], tmp_path: Path) -> None:
    base = f"{namespace.cluster.registry}/{namespace.repository('none')}"
    build(BOTH, "--cache-from", f"{base}:v1", "--cache-from", f"type=local,src={tmp_path / 'none'}").ok()


def test_caches_of_clouds_without_a_login_end_soon(namespace: Namespace, build: Callable[..., Result]) -> None:
    """Outside of GitHub the gha cache is left out; the others are asked for, and say what they lack."""
    dead = "10.77.0.1:9"
    gha = build("--platform=linux/amd64", "--cache-to=type=gha", "--cache-from=type=gha").ok()
    assert "ACTIONS_RUNTIME_TOKEN" in gha.stderr
    s3 = build("--platform=linux/amd64", f"--cache-to=type=s3,region=eu,bucket=b,endpoint_url=http://{dead}")
    s3.failed(6, "credentials")
    azblob = build("--platform=linux/amd64", f"--cache-to=type=azblob,account_url=https://{dead}")
    azblob.failed(6, "azblob")
    build("--platform=linux/amd64", f"--cache-from=type=s3,region=eu,bucket=b,endpoint_url=http://{dead}").ok()
