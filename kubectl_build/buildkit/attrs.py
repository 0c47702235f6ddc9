"""From a BuildRequest to what BuildKit is told: frontend attributes and exporters (pure).

Names of attributes: moby/buildkit frontend/dockerui/config.go, exporter/containerimage/exptypes/keys.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.buildkit.solve import Exporter
from kubectl_build.errors import UsageError
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest, Output, OutputType

FRONTEND = "dockerfile.v0"


def frontend_attrs(request: BuildRequest, platforms: Sequence[Platform], *, split: bool = False) -> dict[str, str]:
    """Attributes for a solve of `platforms`, or of the daemon's own when that is empty.

    Raises UsageError for text that is not UTF-8, which a daemon does not take.

    `split` asks for a result by platform even of a single one, as a file output of one pool among several needs it.
    """
    attrs = {"filename": request.dockerfile.name}
    if platforms:
        attrs["platform"] = ",".join(str(platform) for platform in platforms)
    if split:
        attrs["multi-platform"] = "true"
    if request.target:
        attrs["target"] = request.target
    if request.no_cache:
        attrs["no-cache"] = ""
    if request.pull:
        attrs["image-resolve-mode"] = "pull"
    attrs.update({f"build-arg:{name}": value for name, value in request.build_args.items()})
    attrs.update({f"label:{name}": value for name, value in request.labels.items()})
    for name, value in attrs.items():
        try:
            f"{name}{value}".encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{ascii(name)[1:-1]} is not UTF-8 text") from error
    return attrs


def exporters(request: BuildRequest, *, by_digest: bool = False) -> tuple[Exporter, ...]:
    """The exporters of one solve, in the order of the outputs, so that an output's index is the exporter's.

    `by_digest` is for one pool of several: pushes go untagged to every repository, since only the merged index may carry the tags.
    Without any output a build with tags keeps its image in the builder's store, which pushes nothing.
    """
    if not request.outputs:
        if not request.tags:
            return ()
        return (Exporter(type="image", attrs={"name": ",".join(str(tag) for tag in request.tags)}),)
    return tuple(_exporter(request, output, by_digest=by_digest) for output in request.exported)


def _exporter(request: BuildRequest, output: Output, *, by_digest: bool) -> Exporter:
    attrs = dict(output.attrs)
    if output.type in (OutputType.IMAGE, OutputType.OCI, OutputType.DOCKER) and request.tags:
        attrs["name"] = ",".join(str(tag) for tag in request.tags)
    if output.pushes:
        attrs.setdefault("unpack", "false")
        if by_digest or output.by_digest:
            attrs["name"] = ",".join(dict.fromkeys(name.repository for name in request.names))
            attrs["push-by-digest"] = "true"
    return Exporter(type=output.type.value, attrs=attrs)
