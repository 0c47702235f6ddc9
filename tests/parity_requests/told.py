"""What a daemon was told, in a form in which two clients can be compared: without what is random, and with names in one spelling."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from kubectl_build.model.reference import parse_reference
from kubectl_build.proto import control_pb2, gateway_pb2
from tests.parity_requests.recorder import Recorder

_HERE = "{dir}"
_METHOD = "x-docker-expose-session-grpc-method"

_FIELDS = {14: "EnableSessionExporter", 15: "SourcePolicySession", 16: "CompatibilityVersion", 17: "ProxyNetwork"}
"""Fields of Control's SolveRequest that our own control.proto may lack."""


@dataclass(slots=True)
class Told:
    """One build. `attrs` are those of Control.Solve, `asked` those of LLBBridge.Solve where they differ, `methods` what the session
    offers."""

    frontend: str = ""
    attrs: dict[str, object] = field(default_factory=dict)
    asked: dict[str, object] = field(default_factory=dict)
    exporters: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    cache_exports: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    cache_imports: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gateway_imports: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    entitlements: list[str] = field(default_factory=list)
    internal: bool = False
    policy: str = ""
    inputs: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)


def told(recorder: Recorder, directory: Path) -> Told:
    """What the last build was told whose frontend was asked; `directory` is the client's own, whose name does not count."""
    builds = [build for build in recorder.builds.values() if build.gateway is not None and build.gateway.Frontend]
    assert builds, "no frontend was asked"
    control, gateway = builds[-1].control, builds[-1].gateway
    assert control is not None
    assert gateway is not None
    _check_shape(control, gateway)
    attrs, asked = (_attrs(message, directory) for message in (control.FrontendAttrs, gateway.FrontendOpt))
    return Told(
        frontend=gateway.Frontend,
        attrs=attrs,
        asked={name: value for name, value in asked.items() if attrs.get(name) != value},
        exporters=[(each.Type, _exporter(each.Attrs, directory)) for each in control.Exporters],
        cache_exports=[_entry(each, directory) for each in control.Cache.Exports],
        cache_imports=[_entry(each, directory) for each in control.Cache.Imports],
        gateway_imports=[_entry(each, directory) for each in gateway.CacheImports],
        entitlements=sorted(set(control.Entitlements)),
        internal=control.Internal,
        policy=str(control.SourcePolicy),
        inputs=sorted([*control.FrontendInputs, *gateway.FrontendInputs]),
        others=sorted([*_others(control), *_others(gateway)]),
        methods=_methods(recorder.sessions[control.Session]),
    )


def _check_shape(control: control_pb2.SolveRequest, gateway: gateway_pb2.SolveRequest) -> None:
    """What holds for every build through the gateway."""
    assert not control.Frontend
    assert not control.HasField("Definition")
    assert gateway.allowResultReturn
    assert gateway.allowResultArrayRef
    assert control.FrontendAttrs.keys() <= gateway.FrontendOpt.keys()
    if control.Exporters:
        first = control.Exporters[0]
        assert (control.ExporterDeprecated, control.ExporterAttrsDeprecated) == (first.Type, first.Attrs)


def _attrs(attrs: Mapping[str, str], directory: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, text in attrs.items():
        value: object = text.replace(str(directory), _HERE)
        if name == "context":
            value = re.sub(r"(?<=^http://buildkit-session/).*", "ID", text)
        elif name.startswith("context:"):
            value = re.sub(r"(?<=^oci-layout://)[^@]*", "ID", text)
        elif name.startswith("sharedkey:"):
            value = "KEY"
        elif name == "cache-imports":
            value = json.loads(text.replace(str(directory), _HERE))
        elif name == "frontend.caps":
            value = sorted(text.split(","))
        found[name] = value
    return found


def _exporter(attrs: Mapping[str, str], directory: Path) -> dict[str, str]:
    """An annotation without a kind is the manifest's; the daemon completes names, and one of our names is complete already."""
    found = {re.sub(r"^annotation-manifest\.", "annotation.", name): value.replace(str(directory), _HERE) for name, value in attrs.items()}
    if "name" in found and "push-by-digest" not in found:
        found["name"] = ",".join(str(parse_reference(name)) for name in found["name"].split(","))
    return found


def _entry(entry: control_pb2.CacheOptionsEntry | gateway_pb2.CacheOptionsEntry, directory: Path) -> tuple[str, dict[str, str]]:
    return entry.Type, {name: value.replace(str(directory), _HERE) for name, value in entry.Attrs.items()}


def _others(message: Message) -> list[str]:
    """The fields of `message` that are set and that nothing else here looks at."""
    fields: Any = UnknownFieldSet(message)
    unknown = [_FIELDS.get(each.field_number, str(each.field_number)) for each in fields]
    return unknown + [descriptor.name for descriptor, _ in message.ListFields() if descriptor.name in _FIELDS.values()]


def _methods(metadata: list[tuple[str, str]]) -> list[str]:
    return sorted({value.removeprefix("/") for key, value in metadata if key == _METHOD})
