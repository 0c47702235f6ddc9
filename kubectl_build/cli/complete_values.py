"""Candidates for the values of flags that are lists of keys and values (`--output type=oci,dest=FILE`), or that the Dockerfile knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubectl_build.cli.complete_candidates import NOTHING, Answer, Directive, choices, one_more, paths
from kubectl_build.cli.complete_dockerfile import arguments, stages
from kubectl_build.cli.complete_line import Line

_TRUTH = ("true", "false")
_PATH = "PATH"
"""Stands for values that are files."""

Values = Mapping[str, tuple[str, ...]]
"""Keys, and for each the values it may have; none where anything goes, _PATH for files."""

_COMPRESSION: Values = {
    "compression": ("gzip", "zstd", "estargz", "uncompressed"),
    "compression-level": (),
    "force-compression": _TRUTH,
    "oci-mediatypes": _TRUTH,
}
_IMAGE: Values = {
    "name": (),
    **_COMPRESSION,
    "rewrite-timestamp": _TRUTH,
    "push-by-digest": _TRUTH,
    "name-canonical": _TRUTH,
    "registry.insecure": _TRUTH,
}
_ARCHIVE: Values = {"dest": (_PATH,), "name": (), "tar": _TRUTH, **_COMPRESSION, "rewrite-timestamp": _TRUTH}
_OUTPUTS: Mapping[str, Values] = {
    "registry": _IMAGE,
    "image": {"push": _TRUTH, **_IMAGE},
    "oci": _ARCHIVE,
    "docker": _ARCHIVE,
    "local": {"dest": (_PATH,), "mode": ("copy", "delete"), "platform-split": _TRUTH},
    "tar": {"dest": (_PATH,), "platform-split": _TRUTH},
    "cacheonly": {},
}
_S3: Values = dict.fromkeys(("region", "bucket", "name", "prefix", "endpoint_url", "use_path_style"), ())
_AZURE: Values = dict.fromkeys(("account_url", "container", "name", "prefix"), ())
_FROM: Mapping[str, Values] = {
    "registry": {"ref": ()},
    "local": {"src": (_PATH,), "digest": (), "tag": ()},
    "gha": {"scope": (), "timeout": ()},
    "s3": _S3,
    "azblob": _AZURE,
}
_MODE: Values = {"mode": ("min", "max"), "ignore-error": _TRUTH}
_TO: Mapping[str, Values] = {
    "registry": {"ref": (), **_MODE, "image-manifest": _TRUTH, **_COMPRESSION},
    "local": {"dest": (_PATH,), "tag": (), **_MODE, **_COMPRESSION},
    "inline": {},
    "gha": {"scope": (), **_MODE},
    "s3": {**_S3, **_MODE},
    "azblob": {**_AZURE, **_MODE},
}
_PROVENANCE: Values = {"mode": ("min", "max"), "version": ("v0.2", "v1"), "inline-only": _TRUTH}
_ATTEST: Mapping[str, Values] = {
    "provenance": {**_PROVENANCE, "disabled": _TRUTH},
    "sbom": {"generator": (), "disabled": _TRUTH},
}
_RESOURCES = ("memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems")
_SECRET: Values = {"id": (), "src": (_PATH,), "env": (), "type": ("file", "env")}


def _typed_fields(kinds: Mapping[str, Values]) -> Callable[[Line], Answer]:
    """Values that begin with `type=TYPE`, on which the other keys depend."""

    def complete(line: Line) -> Answer:
        said = dict(item.partition("=")[::2] for item in line.typed.split(",")[:-1])
        kind = said.get("type")
        if kind is None:
            types = {f"type={name}{',' if keys else ''}": "" for name, keys in kinds.items()}
            return Answer(types, Directive.NO_FILES | Directive.NO_SPACE).starting_with(line.typed)
        return _fields(line.typed, kinds.get(kind, {}))

    return complete


def _fields(typed: str, keys: Values) -> Answer:
    """One more `key=value` behind the last comma."""
    before, comma, last = typed.rpartition(",")
    there = {item.partition("=")[0] for item in before.split(",")}
    key, equals, value = last.partition("=")
    if not equals:
        return one_more({f"{name}=": "" for name in keys if name not in there}, typed, ordered=True)
    front = f"{before}{comma}{key}="
    values = keys.get(key, ())
    return paths(value, front) if values == (_PATH,) else choices([front + item for item in values], typed)


def _contexts(line: Line) -> Answer:
    name, equals, place = line.typed.partition("=")
    if not equals:
        return NOTHING
    kinds = choices([f"{name}={scheme}://" for scheme in ("docker-image", "oci-layout", "https", "target")], line.typed)
    found = {**kinds.candidates, **paths(place, f"{name}=", directories=True).candidates}
    return Answer(found, Directive.NO_FILES | Directive.NO_SPACE)


def _arguments(line: Line) -> Answer:
    if "=" in line.typed:
        return NOTHING
    found = {f"{name}=": f"default {default}" if default else "" for name, default in arguments(line).items()}
    return Answer(found, Directive.NO_FILES | Directive.NO_SPACE).starting_with(line.typed)


def _output(line: Line) -> Answer:
    """--output of a build; elsewhere it is one of a few formats, which is not asked here, or a file."""
    if line.command.name == "build":
        return _typed_fields(_OUTPUTS)(line)
    return Answer({}, Directive.FILES)


VALUES: Mapping[str, Callable[[Line], Answer]] = {
    "--output": _output,
    "--cache-from": _typed_fields(_FROM),
    "--cache-to": _typed_fields(_TO),
    "--attest": _typed_fields(_ATTEST),
    "--provenance": lambda line: _fields_or(line, _PROVENANCE, _TRUTH),
    "--sbom": lambda line: _fields_or(line, {"generator": ()}, _TRUTH),
    "--secret": lambda line: _fields(line.typed, _SECRET),
    "--ssh": lambda line: choices(("default",), line.typed),
    "--target": lambda line: choices(stages(line), line.typed),
    "--no-cache-filter": lambda line: one_more(stages(line), line.typed),
    "--build-arg": _arguments,
    "--build-context": _contexts,
    "--call": lambda line: choices(("check", "outline", "targets"), line.typed),
    "--network": lambda line: choices(("default", "none", "host"), line.typed),
    "--allow": lambda line: one_more(dict.fromkeys(("network.host", "security.insecure", "device"), ""), line.typed),
    "--policy": lambda line: choices(("disabled=true",), line.typed),
    "--resource": lambda line: _fields(line.typed, dict.fromkeys(_RESOURCES, ())),
    "--security": lambda line: choices(("userns", "rootless", "privileged"), line.typed),
    "--driver": lambda line: choices(("kubernetes",), line.typed),
}
"""What completes a flag's value, by the flag's long name."""


def _fields_or(line: Line, keys: Values, words: tuple[str, ...]) -> Answer:
    found = _fields(line.typed, keys)
    return Answer({**choices(words, line.typed).candidates, **found.candidates}, found.directive)
