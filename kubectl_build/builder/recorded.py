"""The spec that a builder has recorded, for `create` to change: read whole, and taken back to the defaults in part."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kubectl_build.builder import names
from kubectl_build.builder.objects import refuse_foreign
from kubectl_build.builder.spec import BuilderSpec, ClientFile, merge
from kubectl_build.builder.spec_yaml import SPEC_NAMES, dump_yaml, parse_spec, spec_document
from kubectl_build.builder.state import assemble
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, SECRETS
from kubectl_build.errors import ConfigError, NotFound, UsageError
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

ALL = "all"
"""What names everything in `--reset`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a builder's ConfigMap says. `spec` is None when that cannot be understood, as `problem` tells."""

    spec: BuilderSpec | None
    problem: str = ""


async def read_recorded(client: KubeClient, name: str) -> Recorded | None:
    """What builder `name` has recorded, with the contents of its client files; None when there is no builder.

    Raises ClusterError when a ConfigMap of that name is not the builder's, ApiError.
    """
    try:
        found = await client.get(CONFIGMAPS, name)
    except NotFound:
        return None
    refuse_foreign(found, CONFIGMAPS, name, client.namespace)
    builder = assemble(name, client.namespace, config_maps=[found], stateful_sets=None, pods=())
    assert builder is not None
    spec = builder.spec
    if spec is not None and spec.client_files:
        spec = replace(spec, client_files=await _with_contents(client, name, spec.client_files))
    return Recorded(spec=spec, problem=builder.problem)


async def _with_contents(client: KubeClient, name: str, files: Mapping[str, ClientFile]) -> dict[str, ClientFile]:
    """The files with what the builder's Secret has; one that is not what was recorded stays without its content."""
    try:
        data: JsonObject = (await client.get(SECRETS, names.certificates_name(name))).get("data") or {}
    except NotFound:
        data = {}
    result = dict(files)
    for file, known in files.items():
        try:
            found = ClientFile.of(base64.b64decode(data.get(file, ""), validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue
        if found.digest == known.digest:
            result[file] = found
    return result


def refuse_unknown_names(reset: Sequence[str]) -> None:
    """Raise UsageError for a name of --reset that is none of `builder.yaml`."""
    for path in reset:
        if path != ALL and path.partition(".")[0] not in SPEC_NAMES:
            raise UsageError(f'--reset "{path}" is not known', hint=f"names: {ALL}, " + ", ".join(sorted(SPEC_NAMES)))


def base_of_change(name: str, recorded: Recorded, defaults: BuilderSpec, reset: Sequence[str]) -> BuilderSpec:
    """What flags go over: what was recorded, but for the names in `reset`, which go back to `defaults`. Pure.

    A name is one of `builder.yaml`, or one below it ("env.HTTPS_PROXY"), or ALL. The size of pools is not asked for unless it is reset.
    Raises UsageError as `refuse_unknown_names`, ConfigError when what was recorded cannot be understood and is needed.
    """
    refuse_unknown_names(reset)
    one_pod = replace(defaults, replicas=defaults.replicas or 1)
    if ALL in reset:
        return one_pod
    if recorded.spec is None:
        raise ConfigError(
            recorded.problem, hint=f"begin with the defaults, and say all flags again: kubectl buildkit create {name} --reset {ALL}"
        )
    if not reset:
        return replace(recorded.spec, replicas=None)
    document, fresh = spec_document(recorded.spec), spec_document(one_pod)
    for path in reset:
        _take_back(document, fresh, path)
        if path == "buildkitdConfig":
            document.pop("clientFiles", None)
    spec = merge(BuilderSpec(), parse_spec(dump_yaml(document), source="--reset", recorded=True))
    files = {file: recorded.spec.client_files[file] for file in spec.client_files}
    return replace(spec, client_files=files, replicas=spec.replicas if "replicas" in reset else None)


def _take_back(document: JsonObject, fresh: JsonObject, path: str) -> None:
    """Make what is at `path` in `document` what it is in `fresh`, or nothing. Names may have dots, so they are met one by one."""
    if path in fresh:
        document[path] = fresh[path]
        return
    if path in document:
        del document[path]
        return
    for name in {**fresh, **document}:
        if path.startswith(f"{name}."):
            inner, default = document.get(name, {}), fresh.get(name, {})
            if isinstance(inner, dict) and isinstance(default, dict):
                document[name] = inner = dict(inner)
                _take_back(inner, default, path.removeprefix(f"{name}."))
                return
