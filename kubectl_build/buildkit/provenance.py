"""The provenance of a build as --metadata-file has it: read from the daemon's history (docker/buildx build/provenance.go)."""

from __future__ import annotations

from typing import Any

from kubectl_build.buildkit.client import BuildkitClient
from kubectl_build.errors import ProtocolError
from kubectl_build.model.digest import Descriptor
from kubectl_build.model.json import JsonObject, parse_json

KEY = "buildx.build.provenance"
_MEDIA_TYPE = "application/vnd.in-toto+json"
_PREDICATE = "in-toto.io/predicate-type"
_SLSA = "https://slsa.dev/provenance/"
_SLSA_1 = "https://slsa.dev/provenance/v1"


async def read_provenance(client: BuildkitClient, ref: str, *, full: bool) -> dict[str, JsonObject]:
    """The provenance predicates of build `ref`, by buildx's keys: KEY, or KEY/PLATFORM for each of several.

    In the form of SLSA 0.2, which buildx writes whatever the daemon has; unless `full` without steps and times. Raises ConnectionLost,
    ProtocolError.
    """
    found: dict[str, JsonObject] = {}
    for platform, statements in (await client.attestations(ref)).items():
        statement = next((s for s in statements if _is_provenance(s)), None)
        if statement is not None:
            data = await client.read_content(statement.digest)
            found[f"{KEY}/{platform}" if platform else KEY] = _predicate(data, statement.annotations[_PREDICATE], full=full)
    return found


def _is_provenance(statement: Descriptor) -> bool:
    return statement.media_type == _MEDIA_TYPE and statement.annotations.get(_PREDICATE, "").startswith(_SLSA)


def _predicate(data: bytes, kind: str, *, full: bool) -> JsonObject:
    try:
        document = parse_json(data)
        predicate = slsa_02(document) if kind == _SLSA_1 else document
        if not full:
            predicate.pop("buildConfig", None)
            predicate.pop("metadata", None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"the builder's provenance cannot be read: {error}") from error
    return dict(predicate)


def slsa_02(document: JsonObject) -> JsonObject:
    """A predicate of SLSA 1 in the form of 0.2 (moby/buildkit solver/llbsolver/provenance/types, ConvertToSLSA02).

    Raises KeyError or TypeError for what is no such predicate.
    """
    definition, run = document["buildDefinition"], document["runDetails"]
    parameters = definition["externalParameters"]
    internal = dict(definition.get("internalParameters") or {})
    source = parameters.get("configSource") or {}
    steps = internal.pop("buildConfig", None)
    config = {"uri": source.get("uri"), "digest": source.get("digest"), "entryPoint": source.get("path")}
    materials = [_present({"uri": m.get("uri"), "digest": m.get("digest")}) for m in definition.get("resolvedDependencies") or ()]
    invocation = {
        "configSource": _present(config),
        "parameters": parameters.get("request") or {},
        "environment": {"platform": internal.pop("builderPlatform", ""), **internal},
    }
    result = {
        "builder": {"id": run["builder"].get("id", "")},
        "buildType": "https://mobyproject.org/buildkit@v1",
        "materials": materials,
        "invocation": invocation,
        "buildConfig": steps,
        "metadata": _metadata(run["metadata"]) if run.get("metadata") else None,
    }
    return {key: value for key, value in result.items() if value is not None and value != []}


def _metadata(found: JsonObject) -> JsonObject:
    complete = found.get("buildkit_completeness") or {}
    return {
        **_present(
            {
                "buildInvocationID": found.get("invocationID") or found.get("invocationId"),
                "buildStartedOn": found.get("startedOn"),
                "buildFinishedOn": found.get("finishedOn"),
            }
        ),
        "completeness": {
            "parameters": bool(complete.get("request")),
            "environment": True,
            "materials": bool(complete.get("resolvedDependencies")),
        },
        "reproducible": bool(found.get("buildkit_reproducible")),
        "https://mobyproject.org/buildkit@v1#metadata": found.get("buildkit_metadata") or {},
        **({"https://mobyproject.org/buildkit@v1#hermetic": True} if found.get("buildkit_hermetic") else {}),
    }


def _present(items: dict[str, Any]) -> JsonObject:
    return {key: value for key, value in items.items() if value}
