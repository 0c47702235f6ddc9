"""What a platform team wants for every builder: the ConfigMap `kubectl-build-defaults`."""

from __future__ import annotations

from kubectl_build.builder.spec import BuilderSpec, SpecChange, merge
from kubectl_build.builder.spec_yaml import KEY, parse_spec
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS
from kubectl_build.errors import ConfigError, Forbidden, NotFound
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject

DEFAULTS_NAME = "kubectl-build-defaults"
DEFAULTS_NAMESPACE = "kube-public"


async def load_defaults(client: KubeClient, emit: Sink) -> BuilderSpec:
    """The spec that a builder in the client's namespace starts from: of that namespace, else of kube-public, else our own.

    The nearer ConfigMap replaces the other whole. Absent is normal; one note says when it may not be read. Raises ConfigError for a
    malformed one.
    """
    namespaces = list(dict.fromkeys((client.namespace, DEFAULTS_NAMESPACE)))
    answers = await together(*(_read(client, namespace) for namespace in namespaces))
    spec, forbidden = BuilderSpec(), []
    for namespace, answer in zip(namespaces, answers, strict=True):
        if isinstance(answer, Forbidden):
            forbidden.append(f'"{namespace}"')
        elif answer is not None:
            spec = merge(spec, _parse(answer.get("data") or {}, namespace))
            break
    if forbidden:
        places = " and ".join(forbidden)
        emit(Note(text=f'defaults for builders are not used: you may not read ConfigMap "{DEFAULTS_NAME}" in namespace {places}'))
    return spec


async def _read(client: KubeClient, namespace: str) -> JsonObject | Forbidden | None:
    try:
        return await client.get(CONFIGMAPS, DEFAULTS_NAME, namespace=namespace)
    except NotFound:
        return None
    except Forbidden as exc:
        return exc


def _parse(data: dict[str, str], namespace: str) -> SpecChange:
    source = f'ConfigMap "{DEFAULTS_NAME}" in namespace "{namespace}"'
    unknown = sorted(data.keys() - {KEY})
    if unknown:
        raise ConfigError(f'{source} has the key "{unknown[0]}", which is not known', hint=f'its one key is "{KEY}"')
    if KEY not in data:
        raise ConfigError(f'{source} has no key "{KEY}"', hint=f'put the defaults under the key "{KEY}", or delete the ConfigMap')
    return parse_spec(data[KEY], source=source)
