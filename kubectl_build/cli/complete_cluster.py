"""Candidates that a cluster or a kubeconfig knows: builders, namespaces, contexts, registry secrets, the nodes' platforms.

A cluster that does not answer in time, or may not be asked, has no candidates. The commands are not loaded here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kubectl_build.cli.complete_candidates import NOTHING, Answer, choices, one_more
from kubectl_build.errors import KubectlBuildError
from kubectl_build.model.kubeflags import KubeFlags

if TYPE_CHECKING:
    from kubectl_build.cluster.kubeconfig import Kubeconfig

BUILDER, PLATFORM = "--builder", "--platform"
_SHORT = {"-n": "--namespace", "-s": "--server"}
_NAMES = {"as_user": "--as", "as_groups": "--as-group"}
_ABOUT_BUILDERS = ("doctor", "inspect", "rm", "stop", "use")
"""Commands of `kubectl buildkit` whose arguments are builders that are there."""
_OFTEN = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x")
"""Platforms that images are made for, wherever they run."""


def awaited(words: Sequence[str]) -> tuple[str, str]:
    """The flag whose value the last word is, and what of the value is typed; "" for a word that is no flag's value, as far as can be seen
    without knowing the flags. A short one is given by its long name."""
    last = words[-1]
    name, equals, value = last.partition("=")
    if last.startswith("--") and equals:
        return name, value
    before = words[-2] if len(words) > 1 else ""
    return (_SHORT.get(before, before), last) if before.startswith("-") and "--" not in words[:-1] else ("", last)


def about_builder(plugin: str, words: Sequence[str]) -> bool:
    """Whether the last word certainly is a builder's name, for all that can be seen without knowing the flags."""
    return plugin == "buildkit" and len(words) > 1 and words[0] in _ABOUT_BUILDERS and not any(word.startswith("-") for word in words)


def ask_cluster(flag: str, typed: str, words: Sequence[str], environ: Mapping[str, str]) -> Answer:
    """The candidates for the value of `flag`, one of OF_CLUSTER."""
    flags = kube_flags(words)
    if flag in _OF_KUBECONFIG:
        return _of_kubeconfig(flag, typed, flags, environ)
    from kubectl_build.cli.complete_api import ask_api  # the cluster's client, which the others do without

    found = ask_api(flag, flags)
    if flag == PLATFORM:
        return one_more({**found, **{name: "" for name in _OFTEN if name not in found}}, typed, ordered=True)
    return choices(found, typed)


def kube_flags(words: Sequence[str]) -> KubeFlags:
    """kubectl's flags among `words`, of which the last is still being typed."""
    said: dict[str, str] = {}
    waiting = ""
    for word in words[:-1]:
        name, equals, value = word.partition("=")
        if waiting:
            said[waiting] = word
            waiting = ""
        elif equals:
            said[name] = value
        else:
            waiting = _SHORT.get(word, word) if word.startswith("-") and _SHORT.get(word, word) in _KUBE_FLAGS else ""
    values = {_KUBE_FLAGS[name]: value for name, value in said.items() if name in _KUBE_FLAGS}
    groups = values.pop("as_groups", None)
    return KubeFlags(**values, as_groups=(groups,) if groups else (), insecure_skip_tls_verify="--insecure-skip-tls-verify" in words)


_KUBE_FLAGS = {
    _NAMES.get(field.name, f"--{field.name.replace('_', '-')}"): field.name
    for field in dataclasses.fields(KubeFlags)
    if field.name != "insecure_skip_tls_verify"
}


def _of_kubeconfig(flag: str, typed: str, flags: KubeFlags, environ: Mapping[str, str]) -> Answer:
    from kubectl_build.cluster.kubeconfig import load_kubeconfig

    try:
        config = load_kubeconfig(flags.kubeconfig, environ)
    except KubectlBuildError:
        return NOTHING
    return choices(_OF_KUBECONFIG[flag](config), typed)


def _contexts(config: Kubeconfig) -> Mapping[str, str]:
    return {name: "the current one" if name == config.current_context else "" for name in sorted(config.contexts)}


_OF_KUBECONFIG: dict[str, Callable[[Kubeconfig], Mapping[str, str]]] = {
    "--context": _contexts,
    "--cluster": lambda config: dict.fromkeys(sorted(config.clusters), ""),
    "--user": lambda config: dict.fromkeys(sorted(config.users), ""),
}
OF_CLUSTER = frozenset([*_OF_KUBECONFIG, BUILDER, PLATFORM, "--namespace", "--registry-secret", "--image-pull-secrets"])
"""Flags whose values are known here."""
