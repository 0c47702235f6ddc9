"""The plan beside what BuildKit then ran: for each Dockerfile that is hard to plan, every command and its platform, read from the
provenance that the daemons keep, and what `uname -m` wrote into the images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace, Result, plan_lines
from tests.e2e.registry import Registry

BOTH = ("linux/amd64", "linux/arm64")
RUNS_ON = {"amd64": {"amd64", "386"}, "arm64": {"arm64"}}
NATIVE = {"linux/amd64": ("native", "amd64"), "linux/arm64": ("native", "arm64")}
ONE_POOL = {"linux/amd64": ("native", "amd64"), "linux/arm64": ("cross", "amd64")}
EACH = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
X86 = {"linux/amd64": "x86_64", "linux/arm64": "x86_64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A build that was pushed. `ran` are the architectures that its commands ran for, by the platform that they were part of."""

    result: Result
    plan: dict[str, tuple[str, str]]
    ran: dict[str, set[str]]
    files: dict[str, dict[str, str]]

    def honest(self) -> None:
        """Assert that what ran is what was planned: without QEMU, each command on a pool of its architecture."""
        for platform, (mode, pool) in self.plan.items():
            emulated = self.ran[platform] - RUNS_ON[pool]
            assert bool(emulated) == (mode == "QEMU"), (
                f"{platform} was planned {mode} on {pool}, and ran {self.ran[platform]}\n{self.result}"
            )


def executed(provenance: Mapping[str, Any]) -> set[str]:
    """The architectures of all commands in a daemon's own account of a build."""
    steps = provenance["buildConfig"]["llbDefinition"]
    return {step["op"]["platform"]["Architecture"] for step in steps if "exec" in step["op"].get("Op", {})}


Build = Callable[..., Built]


@pytest.fixture
def build(namespace: Namespace, registry: Registry, tmp_path: Path) -> Build:
    """Build a Dockerfile on the builder of this module, push it, and gather what became of it. An image of nothing is not `traced`:
    daemons keep no provenance of it."""

    def run(dockerfile: str, *flags: str, platforms: tuple[str, ...] = BOTH, traced: bool = True) -> Built:
        repository = namespace.repository("plan")
        metadata = tmp_path / f"{repository.replace('/', '-')}.json"
        context = tmp_path / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(dockerfile)
        (context / "file").write_text("file\n")
        told = namespace.kubectl.with_env(BUILDX_METADATA_PROVENANCE="max")
        name = f"{namespace.cluster.registry}/{repository}:v1"
        given = ("-t", name, "--push", "--registry-secret=my-secret", "--progress=plain", f"--metadata-file={metadata}")
        result = told("build", context, f"--platform={','.join(platforms)}", *given, *flags).ok()
        document = json.loads(metadata.read_text())
        ran: dict[str, set[str]] = {platform: set() for platform in platforms}
        if len(platforms) == 1:
            images = {platforms[0]: registry.image(repository, "v1")}
            ran = {platforms[0]: executed(document["buildx.build.provenance"])}
        else:
            images = registry.images(repository, "v1")
            if traced:
                ran = {platform: executed(document[f"buildx.build.provenance/{platform}"]) for platform in platforms}
        files = {p: {name: data.decode(errors="replace").strip() for name, data in i.files.items()} for p, i in images.items()}
        built = Built(result=result, plan=plan_lines(result.stderr), ran=ran, files=files)
        built.honest()
        return built

    return run


def out(built: Built, name: str = "out") -> dict[str, str]:
    return {platform: files[name] for platform, files in built.files.items()}


CASES = {
    "run-heredoc": ("FROM busybox\nRUN <<EOF\nuname -m >/out\nEOF\n", NATIVE, EACH),
    "run-without-network": ("FROM busybox\nRUN --network=none uname -m >/out\n", NATIVE, EACH),
    "run-in-exec-form": ('FROM busybox\nRUN ["sh", "-c", "uname -m >/out"]\n', NATIVE, EACH),
    "build-stage-and-own-run": (
        "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN uname -m >/built\n"
        "FROM --platform=$TARGETPLATFORM busybox\nCOPY --from=b /built /\nRUN uname -m >/out\n",
        NATIVE,
        EACH,
    ),
    "build-stage-only": (
        "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN uname -m >/out\nFROM --platform=$TARGETPLATFORM busybox\nCOPY --from=b /out /\n",
        ONE_POOL,
        X86,
    ),
    "stage-named-after-the-architecture": (
        "FROM --platform=$BUILDPLATFORM busybox AS stage-amd64\nRUN uname -m >/out\n"
        "FROM busybox AS stage-arm64\nRUN uname -m >/out\nFROM stage-$TARGETARCH\n",
        NATIVE,
        EACH,
    ),
    "run-reached-by-arm64-only": (
        "FROM busybox AS run\nRUN uname -m >/out\nFROM scratch AS final-amd64\nCOPY file /out\n"
        "FROM scratch AS final-arm64\nCOPY --from=run /out /out\nFROM final-$TARGETARCH\n",
        NATIVE,
        {"linux/amd64": "file", "linux/arm64": "aarch64"},
    ),
    "run-reached-by-amd64-only": (
        "FROM busybox AS run\nRUN uname -m >/out\nFROM scratch AS final-arm64\nCOPY file /out\n"
        "FROM scratch AS final-amd64\nCOPY --from=run /out /out\nFROM final-$TARGETARCH\n",
        ONE_POOL,
        {"linux/amd64": "x86_64", "linux/arm64": "file"},
    ),
    "bind-mount-of-a-foreign-stage-without-run": (
        "FROM --platform=linux/s390x busybox AS tools\nCOPY file /tool\n"
        "FROM busybox\nRUN --mount=from=tools,target=/t cp /t/tool /tool && uname -m >/out\n",
        NATIVE,
        EACH,
    ),
    "cache-mount-of-a-stage-with-run": (
        "FROM --platform=$BUILDPLATFORM busybox AS tools\nRUN mkdir /c && uname -m >/c/out\n"
        "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN --mount=type=cache,from=tools,source=/c,target=/t,id=plans cp /t/out /out\n"
        "FROM scratch\nCOPY --from=b /out /out\n",
        ONE_POOL,
        X86,
    ),
    "bind-mount-of-a-build-stage-with-run": (
        "FROM --platform=$BUILDPLATFORM busybox AS tools\nRUN uname -m >/tool\n"
        "FROM busybox\nRUN --mount=from=tools,target=/t test $(cat /t/tool) = $(uname -m) && uname -m >/out\n",
        NATIVE,
        EACH,
    ),
    "copies-only": ("FROM busybox\nCOPY file /out\nWORKDIR /w\n", ONE_POOL, {"linux/amd64": "file", "linux/arm64": "file"}),
    "unused-stage-with-run": (
        "FROM busybox AS unused\nRUN uname -m >/out\nFROM scratch AS empty\nFROM scratch\nCOPY --from=empty / /\nCOPY file /out\n",
        ONE_POOL,
        {"linux/amd64": "file", "linux/arm64": "file"},
    ),
    "stage-of-the-other-literal-platform": (
        "FROM --platform=linux/arm64 busybox AS x\nRUN uname -m >/x\nFROM busybox\nCOPY --from=x /x /\nRUN uname -m >/out\n",
        {"linux/amd64": ("QEMU", "amd64"), "linux/arm64": ("native", "arm64")},
        EACH,
    ),
    "stage-of-a-literal-platform-for-all": (
        "FROM --platform=linux/amd64 busybox AS x\nRUN uname -m >/x\nFROM busybox\nCOPY --from=x /x /\nRUN uname -m >/out\n",
        {"linux/amd64": ("native", "amd64"), "linux/arm64": ("QEMU", "amd64")},
        EACH,
    ),
    "literal-arm64-stage-and-copies": (
        "FROM --platform=linux/arm64 busybox AS x\nRUN uname -m >/out\nFROM scratch\nCOPY --from=x /out /\n",
        {"linux/amd64": ("native", "arm64"), "linux/arm64": ("native", "arm64")},
        {"linux/amd64": "aarch64", "linux/arm64": "aarch64"},
    ),
    "foreign-bind-mount-in-a-build-stage": (
        "FROM --platform=linux/arm64 busybox AS x\nRUN uname -m >/x\n"
        "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN --mount=from=x,target=/t uname -m >/out && cat /t/x >/x\n"
        "FROM scratch\nCOPY --from=b /out /x /\n",
        {"linux/amd64": ("native", "arm64"), "linux/arm64": ("native", "arm64")},
        {"linux/amd64": "aarch64", "linux/arm64": "aarch64"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_plan_is_what_ran(build: Build, case: str) -> None:
    dockerfile, plan, machines = CASES[case]

    built = build(dockerfile)

    assert built.plan == plan
    assert out(built) == machines


CHOICE = (
    "ARG WHICH=cross\nFROM --platform=$BUILDPLATFORM busybox AS stage-cross\nRUN uname -m >/out\n"
    "FROM busybox AS stage-own\nRUN uname -m >/out\nFROM scratch AS stage-none\nCOPY file /out\nFROM stage-$WHICH\n"
)


@pytest.mark.parametrize(
    ("which", "plan", "machines"),
    [
        ("cross", ONE_POOL, X86),
        ("own", NATIVE, EACH),
        ("none", ONE_POOL, {"linux/amd64": "file", "linux/arm64": "file"}),
    ],
)
def test_plan_follows_the_build_argument_that_chooses_a_stage(
    build: Build, which: str, plan: dict[str, tuple[str, str]], machines: dict[str, str]
) -> None:
    built = build(CHOICE, f"--build-arg=WHICH={which}")

    assert built.plan == plan
    assert out(built) == machines


RUN = "FROM busybox\nRUN uname -m >/out\n"
CROSS = "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN uname -m >/out\nFROM scratch\nCOPY --from=b /out /out\n"
MIX = "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN uname -m >/built\nFROM busybox\nCOPY --from=b /built /\nRUN uname -m >/out\n"
FRONTENDS = [("# syntax=docker/dockerfile:1\n", ()), ("", ("--build-arg=BUILDKIT_SYNTAX=docker/dockerfile:1",))]


@pytest.mark.parametrize(("line", "flags"), FRONTENDS, ids=["syntax-line", "BUILDKIT_SYNTAX"])
def test_plan_with_a_frontend_that_is_an_image_is_that_of_the_builtin_one(build: Build, line: str, flags: tuple[str, ...]) -> None:
    own, cross, mix = (build(line + dockerfile, *flags) for dockerfile in (RUN, CROSS, MIX))

    assert (own.plan, cross.plan, mix.plan) == (NATIVE, ONE_POOL, NATIVE)
    assert (out(own), out(cross), out(mix)) == (EACH, X86, EACH)
    assert out(mix, "built") == EACH


@pytest.fixture(scope="module")
def onbuild(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base image for both platforms whose own build runs nothing, and which has each build upon it run a command."""
    context = tmp_path_factory.mktemp("onbuild")
    (context / "Dockerfile").write_text("FROM busybox\nONBUILD RUN uname -m >/out\nONBUILD COPY file /copied\n")
    name = f"{namespace.cluster.registry}/{namespace.repository('onbuild')}:v1"
    result = namespace.kubectl("build", context, "-t", name, f"--platform={','.join(BOTH)}", "--push", "--registry-secret=my-secret").ok()
    assert plan_lines(result.stderr) == ONE_POOL
    return name


def test_plan_counts_the_commands_that_a_base_image_adds(build: Build, onbuild: str) -> None:
    own = build(f"FROM {onbuild}\nCOPY file /\n")
    cross = build(f"FROM --platform=$BUILDPLATFORM {onbuild} AS b\nFROM scratch\nCOPY --from=b /out /copied /\n")

    assert (own.plan, cross.plan) == (NATIVE, ONE_POOL)
    assert (out(own), out(cross)) == (EACH, X86)
    assert set(out(own, "copied").values()) == {"file"}


def test_plan_of_one_platform_goes_where_all_its_stages_run(build: Build) -> None:
    dockerfile = (
        "FROM --platform=linux/arm64 busybox AS x\nRUN uname -m >/x\nFROM --platform=$BUILDPLATFORM busybox AS b\nRUN uname -m >/b\n"
    )
    copies = dockerfile + "FROM scratch\nCOPY --from=x /x /x\nCOPY --from=b /b /out\n"
    runs = dockerfile + "FROM busybox\nCOPY --from=x /x /x\nCOPY --from=b /b /b\nRUN uname -m >/out\n"

    elsewhere = build(copies, platforms=("linux/amd64",))
    nowhere = build(runs, platforms=("linux/amd64",))

    assert elsewhere.plan == {"linux/amd64": ("native", "arm64")}
    assert (out(elsewhere), out(elsewhere, "x")) == ({"linux/amd64": "aarch64"}, {"linux/amd64": "aarch64"})
    assert nowhere.plan == {"linux/amd64": ("QEMU", "amd64")}
    assert (out(nowhere), out(nowhere, "b"), out(nowhere, "x")) == (
        {"linux/amd64": "x86_64"},
        {"linux/amd64": "x86_64"},
        {"linux/amd64": "aarch64"},
    )


def test_plan_without_emulation_refuses_stages_that_no_pool_runs_all(namespace: Namespace, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM --platform=linux/arm64 busybox AS x\nRUN echo only on arm\nFROM busybox\nRUN --mount=from=x,target=/x true\n"
    )

    result = namespace.kubectl("build", tmp_path, "--platform=linux/amd64", "--emulation=never")

    result.failed(2, "linux/amd64 cannot be built without emulation", "linux/arm64 and linux/amd64", "echo only on arm")


@pytest.mark.parametrize("dockerfile", ["FROM scratch\n", "FROM scratch AS a\nFROM a\nLABEL x=y\n"], ids=["scratch", "empty-stages"])
def test_plan_of_an_empty_image_runs_nothing(build: Build, dockerfile: str) -> None:
    built = build(dockerfile, traced=False)

    assert built.plan == ONE_POOL
    assert built.files == {"linux/amd64": {}, "linux/arm64": {}}


@pytest.fixture(scope="module")
def scanner(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An SBOM scanner for both platforms that finds one thing: the machine that it runs on."""
    context = tmp_path_factory.mktemp("scanner")
    statement = '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"name":"%s"}}'
    (context / "scan").write_text(f"#!/bin/sh\nprintf '{statement}' $(uname -m) >$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json\n")
    (context / "scan").chmod(0o755)
    (context / "Dockerfile").write_text('FROM busybox\nCOPY scan /scan\nENTRYPOINT ["/scan"]\n')
    name = f"{namespace.cluster.registry}/{namespace.repository('scanner')}:v1"
    namespace.kubectl("build", context, "-t", name, f"--platform={','.join(BOTH)}", "--push", "--registry-secret=my-secret").ok()
    return name


def test_plan_counts_the_scanner_of_an_sbom(namespace: Namespace, registry: Registry, scanner: str, context: Callable[..., Path]) -> None:
    """A frontend has the scanner run on its own program's platform. The daemon of the simulated node is a program for amd64, so there, and
    only there, a scanner is foreign to the pool that runs it; that this is told shows that it is counted."""
    given = (f"--platform={','.join(BOTH)}", f"--sbom=generator={scanner}", "--push", "--registry-secret=my-secret", "--progress=plain")
    cross, native = namespace.repository("sbom"), namespace.repository("sbom")
    base = namespace.cluster.registry

    on_one = namespace.kubectl("build", context({"Dockerfile": CROSS}), "-t", f"{base}/{cross}:v1", *given).ok()
    on_two = namespace.kubectl("build", context({"Dockerfile": RUN}), "-t", f"{base}/{native}:v1", *given).ok()

    assert (plan_lines(on_one.stderr), plan_lines(on_two.stderr)) == (ONE_POOL, NATIVE)
    assert "QEMU" not in on_one.stderr
    assert "WARN: linux/arm64: steps run on linux/amd64" in on_two.stderr
    assert scanned(registry, cross) == scanned(registry, native) == ["x86_64", "x86_64"]


def scanned(registry: Registry, repository: str) -> list[str]:
    """What the scanner said, for each image of the index in order."""
    entries = registry.manifest(repository, "v1").json["manifests"]
    named = {e["annotations"]["vnd.docker.reference.digest"]: e["digest"] for e in entries if "annotations" in e}
    found = []
    for entry in entries:
        if entry["digest"] in named:
            (layer,) = registry.manifest(repository, named[entry["digest"]]).json["layers"]
            found.append(json.loads(registry.blob(repository, layer["digest"]))["predicate"]["name"])
    return found


@pytest.fixture(scope="module")
def unconfined(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A builder that lets builds ask for more than the usual."""
    config = tmp_path_factory.mktemp("config") / "buildkitd.toml"
    config.write_text('insecure-entitlements = ["security.insecure", "network.host"]\n')
    namespace.kubectl("buildkit", "create", "open", f"--buildkitd-config={config}").ok()
    return "--builder=open"


@pytest.mark.parametrize(("flag", "allowed"), [("--security=insecure", "security.insecure"), ("--network=host", "network.host")])
def test_plan_counts_commands_that_are_not_confined(build: Build, unconfined: str, flag: str, allowed: str) -> None:
    built = build(f"FROM busybox\nRUN {flag} uname -m >/out\n", unconfined, f"--allow={allowed}")

    assert (built.plan, out(built)) == (NATIVE, EACH)


def test_entitlement_that_the_builder_does_not_grant_says_where_to_allow_it(namespace: Namespace, context: Callable[..., Path]) -> None:
    root = context({"Dockerfile": "FROM busybox\nRUN --network=host true\n"})

    result = namespace.kubectl("build", root, "--allow=network.host")

    result.failed(1, "entitlement network.host", "--allow network.host")


@pytest.mark.parametrize("case", ["build-stage-and-own-run", "stage-of-a-literal-platform-for-all", "foreign-bind-mount-in-a-build-stage"])
def test_plan_that_is_only_asked_for_is_that_of_the_build(namespace: Namespace, context: Callable[..., Path], case: str) -> None:
    dockerfile, plan, _ = CASES[case]
    root = context({"Dockerfile": dockerfile, "file": "file"})

    document = namespace.kubectl("build", root, f"--platform={','.join(BOTH)}", "--plan=json").json()

    assert document["certain"] is True
    assert {entry["platform"]: (entry["mode"], entry["pool"]) for entry in document["platforms"]} == plan
