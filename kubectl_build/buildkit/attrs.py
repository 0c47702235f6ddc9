"""From a BuildRequest to what BuildKit is told: frontend, its attributes, exporters, entitlements; all together a SolveJob (pure).

Rules: docker/buildx v0.35.0 build/opt.go (toSolveOpt). Names of attributes: moby/buildkit v0.31.2 frontend/dockerui/config.go,
exporter/containerimage/exptypes/keys.go. tests/parity_requests compares what comes out with what buildx sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubectl_build.buildkit.annotations import annotation_attrs, without_platforms
from kubectl_build.buildkit.caches import cache_exports, cache_imports, cache_imports_attr
from kubectl_build.buildkit.context_attrs import context_attrs
from kubectl_build.buildkit.solve import Exporter, SolveJob
from kubectl_build.buildkit.source_policy import parse_source_policy
from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest, CacheEntry, Output, OutputType

FRONTEND = "dockerfile.v0"

_IMAGES = (OutputType.IMAGE, OutputType.OCI, OutputType.DOCKER)


def build_job(
    request: BuildRequest,
    platforms: Sequence[Platform],
    *,
    pool: str = "",
    pools: Sequence[str] = (),
    imports: Sequence[CacheEntry] | None = None,
    shared_keys: Mapping[str, str] | None = None,
) -> SolveJob:
    """What one daemon is told to build: `platforms` (empty: its own) of `request`, as `pool` of `pools`.

    `imports` replaces `cache_imports(request, pools)` where the digests of local ones have been found. `shared_keys`: see context_attrs.
    Raises UsageError for text that is not UTF-8, which a daemon does not take, and for an empty BUILDKIT_SYNTAX.
    """
    shared = len(pools) > 1
    found = cache_imports(request, pools) if imports is None else tuple(imports)
    elsewhere = [platform for platform in request.platforms if platform not in platforms] if shared else []
    return SolveJob(
        frontend=frontend(request),
        attrs=frontend_attrs(request, platforms, split=shared, imports=found, shared_keys=shared_keys),
        exporters=exporters(request, by_digest=shared, elsewhere=elsewhere),
        cache_imports=found,
        cache_exports=cache_exports(request, pool, pools),
        entitlements=entitlements(request),
        source_policy=parse_source_policy(request.source_policy),
    )


def plan_job(
    request: BuildRequest,
    platforms: Sequence[Platform],
    *,
    shared_keys: Mapping[str, str] | None = None,
    build_platform: Platform | None = None,
) -> SolveJob:
    """What a daemon is told to plan: the same build, with nothing imported, attested, exported or remembered.

    With `build_platform` it plans as a daemon of that platform would: a build argument BUILDPLATFORM goes before the daemon's own.
    """
    attrs = frontend_attrs(request, platforms, shared_keys=shared_keys)
    if build_platform is not None:
        own = {"PLATFORM": str(build_platform), "OS": build_platform.os, "ARCH": build_platform.architecture, "VARIANT": ""}
        attrs = {f"build-arg:BUILD{name}": value for name, value in own.items()} | attrs
    return SolveJob(
        frontend=frontend(request),
        attrs={name: value for name, value in attrs.items() if not name.startswith("attest:")},
        entitlements=entitlements(request),
        source_policy=parse_source_policy(request.source_policy),
        internal=True,
    )


def frontend(request: BuildRequest) -> str:
    """The daemon's own Dockerfile frontend, or the one that runs the image of the build argument BUILDKIT_SYNTAX."""
    return "gateway.v0" if "BUILDKIT_SYNTAX" in request.build_args else FRONTEND


def entitlements(request: BuildRequest) -> tuple[str, ...]:
    """What the build is allowed beyond the usual; a host network for every step is allowed by asking for it."""
    network = ("network.host",) if request.network == "host" else ()
    return tuple(dict.fromkeys((*request.entitlements, *network)))


def frontend_attrs(
    request: BuildRequest,
    platforms: Sequence[Platform],
    *,
    split: bool = False,
    imports: Sequence[CacheEntry] = (),
    shared_keys: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Attributes for a solve of `platforms`, or of the daemon's own when that is empty.

    `split` asks for a result by platform even of a single one: one pool's share is joined with others. Raises UsageError for text that is
    not UTF-8, and for an empty BUILDKIT_SYNTAX.
    """
    attrs = {f"build-arg:{name}": value for name, value in request.build_args.items()}
    attrs |= {f"label:{name}": value for name, value in request.labels.items()}
    attrs |= {f"attest:{name}": value for name, value in request.attests.items()}
    attrs |= {f"vcs:{name}": value for name, value in request.vcs.items()}
    attrs |= context_attrs(request, shared_keys or {})
    attrs |= _syntax_attrs(request)
    attrs |= _step_attrs(request)
    if platforms:
        attrs["platform"] = ",".join(str(platform) for platform in platforms)
    if split or parse_bool(request.build_args.get("BUILDKIT_MULTI_PLATFORM", "")):
        attrs["multi-platform"] = "true"
    if request.target:
        attrs["target"] = request.target
    if request.no_cache or request.no_cache_filter:
        attrs["no-cache"] = "" if request.no_cache else ",".join(request.no_cache_filter)
    if request.pull:
        attrs["image-resolve-mode"] = "pull"
    if imports:
        attrs["cache-imports"] = cache_imports_attr(imports)
    return _checked(attrs)


def _syntax_attrs(request: BuildRequest) -> dict[str, str]:
    """The frontend image of BUILDKIT_SYNTAX: the first word is its name, the rest is for the frontend."""
    syntax = request.build_args.get("BUILDKIT_SYNTAX")
    if syntax is None:
        return {}
    if not syntax.strip():
        raise UsageError(
            "build argument BUILDKIT_SYNTAX is empty", hint="write --build-arg BUILDKIT_SYNTAX=docker/dockerfile:1, or leave it out"
        )
    return {"source": syntax.strip().split(" ", 1)[0], "cmdline": syntax}


def _step_attrs(request: BuildRequest) -> dict[str, str]:
    """What holds for every RUN step."""
    attrs = {
        "force-network-mode": "" if request.network == "default" else request.network,
        "add-hosts": ",".join(request.add_hosts),
        "cgroup-parent": request.cgroup_parent,
        "shm-size": str(request.shm_size) if request.shm_size > 0 else "",
        "ulimit": ",".join(request.ulimits),
    }
    return {name: value for name, value in attrs.items() if value} | dict(request.resources)


def exporters(request: BuildRequest, *, by_digest: bool = False, elsewhere: Sequence[Platform] = ()) -> tuple[Exporter, ...]:
    """The exporters of one solve, in the order of the outputs, so that an output's index is the exporter's.

    `by_digest` is for one pool of several: pushes go untagged to every repository, since only the merged index may carry the tags.
    `elsewhere` are the platforms that other pools build, whose annotations are left to them. Without any output a build with tags keeps its
    image in the builder's store, which pushes nothing. Raises UsageError for text that is not UTF-8.
    """
    outputs = request.exported
    if not request.outputs and request.tags:
        outputs = (Output(type=OutputType.IMAGE),)
    return tuple(_exporter(request, output, by_digest=by_digest, elsewhere=elsewhere) for output in outputs)


def _exporter(request: BuildRequest, output: Output, *, by_digest: bool, elsewhere: Sequence[Platform]) -> Exporter:
    attrs = without_platforms({**output.attrs, **annotation_attrs(request.annotations)}, elsewhere)
    if output.type in _IMAGES:
        if request.tags:
            attrs["name"] = ",".join(str(tag) for tag in request.tags)
        if "BUILDKIT_INLINE_BUILDINFO_ATTRS" in request.build_args:
            attrs["buildinfo-attrs"] = request.build_args["BUILDKIT_INLINE_BUILDINFO_ATTRS"]
    if output.pushes and (by_digest or output.by_digest):
        attrs["name"] = ",".join(dict.fromkeys(name.repository for name in request.names))
        attrs["push-by-digest"] = "true"
    return Exporter(type=output.type.value, attrs=_checked(attrs))


def _checked(attrs: dict[str, str]) -> dict[str, str]:
    """Return `attrs`; a daemon takes only UTF-8."""
    for name, value in attrs.items():
        try:
            f"{name}{value}".encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{ascii(name)[1:-1]} is not UTF-8 text") from error
    return attrs
