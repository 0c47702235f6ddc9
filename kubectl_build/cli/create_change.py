"""From the flags of `create` to the change of a spec that they ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from kubectl_build.builder.amounts import parse_quantity, parse_seconds
from kubectl_build.builder.buildkitd_config import load_authorities, load_buildkitd_config
from kubectl_build.builder.daemon_flags import split_daemon_flags
from kubectl_build.builder.documents import load_mapping
from kubectl_build.builder.pod_template import check_template
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import RegistrySettings, SpecChange, check_entitlement
from kubectl_build.builder.volume import parse_cache
from kubectl_build.cli.create_flags import CreateFlags
from kubectl_build.cli.options.fields import parse_fields
from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import parse_platforms

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def spec_change(flags: CreateFlags, environ: Mapping[str, str] = os.environ) -> SpecChange:
    """What `flags` ask for, without --driver-opt; the files they name are read.

    Raises UsageError, ConfigError for a file that cannot be used.
    """
    loaded = load_buildkitd_config(flags.buildkitd_config) if flags.buildkitd_config is not None else None
    rights, daemon_flags = split_daemon_flags(flags.buildkitd_flags) if flags.buildkitd_flags is not None else ((), None)
    allowed = (*names_in("--allow", flags.allow), *rights)
    for right in allowed:
        check_entitlement(right)
    registries = dict(loaded.registries) if loaded else {}
    for text in flags.registry or ():
        host, settings = _registry(text)
        registries[host] = settings.over(registries.get(host, RegistrySettings()))
    return SpecChange(
        platforms=parse_platforms(tuple(flags.platform)) if flags.platform else None,
        image=flags.image,
        security=flags.security,
        replicas=flags.replicas,
        requests=_amounts("--requests", flags.requests),
        limits=_amounts("--limits", flags.limits),
        env=_environment(flags, environ) or None,
        allow=allowed or None,
        cache=parse_cache(flags.cache) if flags.cache is not None else None,
        pod=_shape(flags),
        idle_seconds=parse_seconds(flags.idle_timeout, what="--idle-timeout") if flags.idle_timeout is not None else None,
        buildkitd_flags=daemon_flags,
        qemu_install=flags.qemu_install,
        qemu_image=flags.qemu_image,
        buildkitd_config=loaded.text if loaded else None,
        registries=registries or None,
        client_files=loaded.client_files if loaded else None,
    )


def _shape(flags: CreateFlags) -> PodShape:
    template = load_mapping(flags.pod_template, "pod template") if flags.pod_template is not None else {}
    check_template(template)
    return PodShape(
        node_selector=_pairs("--node-selector", flags.node_selector),
        tolerations=tuple(_toleration(text) for text in names_in("--tolerations", flags.tolerations)),
        affinity=load_mapping(flags.affinity, "affinity") if flags.affinity is not None else {},
        spread=names_in("--spread", flags.spread),
        priority_class=flags.priority_class or "",
        service_account=flags.service_account or "",
        image_pull_secrets=names_in("--image-pull-secrets", flags.image_pull_secrets),
        runtime_class=flags.runtime_class or "",
        scheduler_name=flags.scheduler_name or "",
        annotations=_pairs("--annotations", flags.annotations),
        labels=_pairs("--labels", flags.labels),
        host_network=flags.host_network,
        grace_seconds=parse_seconds(flags.grace_period, what="--grace-period") if flags.grace_period is not None else None,
        template=template,
    )


def names_in(flag: str, texts: Sequence[str] | None) -> tuple[str, ...]:
    """The values of a flag that takes several with commas and is repeatable."""
    found = [item for text in texts or () for item in parse_fields(flag, text)]
    if "" in found:
        raise UsageError(f"{flag} has an empty value")
    return tuple(found)


def _pairs(flag: str, texts: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for entry in names_in(flag, texts):
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise UsageError(f'{flag} "{entry}" is not NAME=VALUE', hint="a value with commas is quoted: '\"NAME=A,B\"'")
        pairs[name] = value
    return pairs


def _amounts(flag: str, texts: Sequence[str] | None) -> dict[str, str] | None:
    amounts = _pairs(flag, texts)
    for name, value in amounts.items():
        parse_quantity(value, what=f"{flag} {name} =")
    return amounts or None


def _toleration(text: str) -> JsonObject:
    """KEY[=VALUE][:EFFECT], as `kubectl taint` writes taints; a key alone bears every value."""
    taint, colon, effect = text.rpartition(":") if text.rpartition(":")[2] in _EFFECTS else (text, "", "")
    if ":" in taint:
        raise UsageError(f'--tolerations "{text}" is not KEY[=VALUE][:EFFECT]', hint="effects: " + ", ".join(_EFFECTS))
    key, equals, value = taint.partition("=")
    if not key:
        raise UsageError(f'--tolerations "{text}" has no key', hint="write it like dedicated=builds:NoSchedule")
    toleration: dict[str, Any] = {"key": key, **({"operator": "Equal", "value": value} if equals else {"operator": "Exists"})}
    return {**toleration, **({"effect": effect} if colon else {})}


def _environment(flags: CreateFlags, environ: Mapping[str, str]) -> dict[str, str]:
    """--env, where NAME alone is the variable's value here, and the proxies by the names that the daemon reads."""
    proxies = {"HTTP_PROXY": flags.http_proxy, "HTTPS_PROXY": flags.https_proxy, "NO_PROXY": flags.no_proxy}
    env = {name: value for name, value in proxies.items() if value is not None}
    for entry in flags.env or ():
        name, equals, value = entry.partition("=")
        if not name:
            raise UsageError(f'--env "{entry}" has no name', hint="write it like NAME=VALUE")
        if not equals and name not in environ:
            raise UsageError(f'--env "{name}" has no value: there is no variable of this name here', hint=f"say it: --env {name}=VALUE")
        env[name] = value if equals else environ[name]
    return env


def _registry(text: str) -> tuple[str, RegistrySettings]:
    """HOST[,ca=FILE][,mirror=HOST][,http[=BOOL]][,insecure[=BOOL]]; ca and mirror may be repeated."""
    host, *options = parse_fields("--registry", text)
    if not host or "=" in host:
        raise UsageError(f'--registry "{text}" does not begin with a host', hint="for example --registry registry.example.com,ca=ca.pem")
    if "/" in host:
        raise UsageError(f'--registry "{text}" begins with more than a host', hint="HOST[:PORT] alone; a registry without TLS: HOST,http")
    authorities: list[str] = []
    mirrors: list[str] = []
    flags: dict[str, bool] = {}
    for option in options:
        key, equals, value = option.partition("=")
        switch = parse_bool(value) if equals else True
        if key in ("ca", "mirror") and value:
            (authorities if key == "ca" else mirrors).append(value)
        elif key in ("http", "insecure") and switch is not None:
            flags[key] = switch
        else:
            raise UsageError(f'"{option}" of --registry "{text}" is not known', hint="options: ca=FILE, mirror=HOST, http, insecure")
    return host, RegistrySettings(ca=load_authorities(authorities), mirrors=tuple(mirrors), **flags)


def with_driver_opts(change: SpecChange, options: SpecChange) -> SpecChange:
    """`change`, with what `options` of --driver-opt say where it says nothing: our own flags go over buildx's."""
    said: dict[str, Any] = {}
    for item in fields(SpecChange):
        ours, theirs = getattr(change, item.name), getattr(options, item.name)
        if ours is None:
            said[item.name] = theirs
        elif item.name == "pod" and theirs is not None:
            said["pod"] = ours.over(theirs)
        elif item.name in ("requests", "limits", "env") and theirs is not None:
            said[item.name] = {**theirs, **ours}
        elif item.name == "allow" and theirs is not None:
            said["allow"] = (*theirs, *ours)
    return replace(change, **said)
