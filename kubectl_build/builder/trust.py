"""Which registries a builder trusts, so that what we write ourselves (the index) goes the way of what its daemons push."""

from __future__ import annotations

from collections.abc import Mapping

from kubectl_build.builder import names
from kubectl_build.builder.buildkitd_config import CONFIG_DIR, CONFIG_FILE, authority_files, read_settings
from kubectl_build.builder.spec import RegistrySettings
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.exec import run
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import DialError


async def load_registries(client: KubeClient, builder: Builder, pod: PodInfo) -> Mapping[str, RegistrySettings]:
    """The registry settings of `builder` by host: from its spec, else, for a user who may not read that, from the files of `pod`.

    Raises DialError when the pod cannot be asked, ConnectionLost, ApiError.
    """
    if builder.spec is not None:
        return builder.spec.registries
    config = await _read(client, pod, f"{CONFIG_DIR}/{CONFIG_FILE}")
    paths = authority_files(config)
    contents = dict(zip(paths, await together(*(_read(client, pod, path) for path in paths)), strict=True))
    return read_settings(config, contents.__getitem__)


async def _read(client: KubeClient, pod: PodInfo, path: str) -> str:
    code, stdout, stderr = await run(
        client, namespace=pod.namespace, pod=pod.name, container=names.CONTAINER, command=["cat", path], deadline=deadlines().command
    )
    if code != 0:
        raise DialError(f'"{path}" of pod "{pod.name}" cannot be read: {stderr.decode(errors="replace").strip()}')
    return stdout.decode()
