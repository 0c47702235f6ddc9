"""Reading a frontend's result: which commands each platform's build runs, and on which platform (pure).

Rules: the emulator is chosen for each exec op by the op's platform; no platform on the op means the daemon's own
(moby/buildkit v0.31.2, solver/llbsolver/ops/exec_binfmt.go and vertex.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError

from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.model.json import parse_json
from kubectl_build.model.needs import Needs
from kubectl_build.model.platform import Platform, normalize, parse_platform
from kubectl_build.proto import gateway_pb2, pb_pb2

_PLATFORMS_KEY = "refs.platforms"


def result_needs(result: gateway_pb2.Result, requested: Sequence[Platform], own: Platform) -> dict[Platform, Needs]:
    """Map each platform of `result` to what its build runs, attestations included.

    `requested` names the platforms in the order asked for; a result of a single ref is that of the only one. `own` is the daemon's
    platform.
    Raises ProtocolError when the result does not have what was asked for.
    """
    extra = {key: [a.ref for a in value.attestation if a.HasField("ref")] for key, value in result.attestations.items()}
    if not result.HasField("refs"):
        if len(requested) != 1:
            raise ProtocolError(f"the frontend returned one result for {len(requested)} platforms")
        platform = requested[0]
        refs = [result.ref, *(ref for group in extra.values() for ref in group)]
        return {platform: _needs(refs, platform, own)}
    found: dict[Platform, Needs] = {}
    for key, platform in _platform_keys(result):
        if key not in result.refs.refs:
            continue
        asked = _asked(platform, requested)
        found[asked] = _needs([result.refs.refs[key], *extra.get(key, ())], platform, own)
    missing = [str(platform) for platform in requested if platform not in found]
    if missing:
        raise ProtocolError(f"the frontend returned no result for {', '.join(missing)}")
    return found


def _asked(platform: Platform, requested: Sequence[Platform]) -> Platform:
    """The requested platform that a result is for: the frontend adds the version of Windows that the base image has."""
    if platform in requested:
        return platform
    return next((p for p in requested if not p.os_version and replace(platform, os_version="", os_features=()) == p), platform)


def _platform_keys(result: gateway_pb2.Result) -> list[tuple[str, Platform]]:
    raw = result.metadata.get(_PLATFORMS_KEY)
    try:
        if raw is None:
            return [(key, parse_platform(key)) for key in sorted(result.refs.refs)]
        entries = parse_json(raw)["Platforms"]
        return [
            (str(e["ID"]), normalize(p["os"], p["architecture"], p.get("variant", ""), p.get("os.version", "")))
            for e in entries
            for p in [e["Platform"]]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise ProtocolError(f"the frontend's list of platforms cannot be read: {error}") from error


def _op(blob: bytes) -> pb_pb2.Op:
    try:
        return pb_pb2.Op.FromString(blob)
    except DecodeError as error:
        raise ProtocolError("the frontend returned LLB that cannot be read") from error


def _needs(refs: Iterable[gateway_pb2.Ref], target: Platform, own: Platform) -> Needs:
    execs: dict[Platform, str] = {}
    unknown = False
    for ref in refs:
        definition: pb_pb2.Definition = getattr(ref, "def")
        blobs: Sequence[bytes] = getattr(definition, "def")
        for position, blob in enumerate(blobs):
            op = _op(blob)
            kind = op.WhichOneof("op")
            if kind == "exec":
                platform = own
                if op.HasField("platform"):
                    p = op.platform
                    platform = normalize(p.OS, p.Architecture, p.Variant)
                execs.setdefault(platform, " ".join(op.exec.meta.args))
            elif kind is None and position != len(blobs) - 1:
                # The last op of a definition has no kind: it only names the result.
                unknown = True
    if unknown:
        execs.setdefault(target, "an operation that this client does not know")
    return Needs(execs=execs, unknown=unknown)
