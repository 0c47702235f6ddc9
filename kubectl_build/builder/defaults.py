"""What a platform team wants for every builder: the ConfigMap `kubectl-build-defaults`."""

from __future__ import annotations

from kubectl_build.builder.spec import BuilderSpec, SpecChange, merge
from kubectl_build.builder.spec_yaml import KEY, parse_spec
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS
from kubectl_build.errors import ConfigError, Forbidden, NotFound
from kubectl_build.model.events import Note, Sink

DEFAULTS_NAME = "kubectl-build-defaults"
DEFAULTS_NAMESPACE = "kube-public"


async def load_defaults(client: KubeClient, emit: Sink) -> BuilderSpec:
    """The spec that a builder in the client's namespace starts from: of that namespace, else of kube-public, else our own.

    The nearer ConfigMap replaces the other whole. Absent is normal; one note says when it may not be read. Raises ConfigError for a
    malformed one.
    """
    forbidden: list[str] = []
    for namespace in dict.fromkeys((client.namespace, DEFAULTS_NAMESPACE)):
        try:
            found = await client.get(CONFIGMAPS, DEFAULTS_NAME, namespace=namespace)
        except NotFound:
            continue
        except Forbidden:
            forbidden.append(namespace)
            continue
        return merge(BuilderSpec(), _parse(found.get("data") or {}, namespace))
    if forbidden:
        places = " and ".join(f'"{namespace}"' for namespace in forbidden)
        emit(Note(text=f'defaults for builders are not used: you may not read ConfigMap "{DEFAULTS_NAME}" in namespace {places}'))
    return BuilderSpec()


def _parse(data: dict[str, str], namespace: str) -> SpecChange:
    source = f'ConfigMap "{DEFAULTS_NAME}" in namespace "{namespace}"'
    unknown = sorted(data.keys() - {KEY})
    if unknown:
        raise ConfigError(f'{source} has the key "{unknown[0]}", which is not known', hint=f'its one key is "{KEY}"')
    if KEY not in data:
        raise ConfigError(f'{source} has no key "{KEY}"', hint=f'put the defaults under the key "{KEY}", or delete the ConfigMap')
    return parse_spec(data[KEY], source=source)
