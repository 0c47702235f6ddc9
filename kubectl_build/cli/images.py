"""The work behind `kubectl buildkit imagetools`: where registries are reached from, and what is printed where."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

from kubectl_build.builder.find import require_builder
from kubectl_build.builder.spec import registry_trust
from kubectl_build.builder.trust import load_registries
from kubectl_build.cli.connect import connected
from kubectl_build.cli.files import check_result_file, write_result
from kubectl_build.cli.image_text import description, document, formatted, is_default
from kubectl_build.cli.main import run_async
from kubectl_build.cli.notes import note
from kubectl_build.cli.options.annotations import parse_annotations
from kubectl_build.cli.options.arguments import parse_tags
from kubectl_build.cluster.client import KubeClient
from kubectl_build.credentials.load import load_keychain
from kubectl_build.daemons import address, registry_dial
from kubectl_build.errors import ClusterError, ConfigError, UsageError
from kubectl_build.model.events import Sink
from kubectl_build.model.gojson import marshal_indent
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.platform import parse_platforms
from kubectl_build.model.reference import parse_reference
from kubectl_build.progress.display import Mode, open_display
from kubectl_build.registry import gojson
from kubectl_build.registry.client import RegistryTrust
from kubectl_build.registry.combine import Combined
from kubectl_build.registry.create import CreateRequest, join_images, write_image
from kubectl_build.registry.failures import NoTls, Untrusted
from kubectl_build.registry.http import Dial
from kubectl_build.registry.inspect import inspect, load_details
from kubectl_build.registry.pool import Registries, open_registries
from kubectl_build.registry.sources import Named, parse_source
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How registries are reached: from here, or through a pod of `builder`; `ca_pem` and `insecure` are besides what the builder trusts."""

    builder: str | None
    secrets: tuple[str, ...]
    ca_pem: str
    insecure: bool


def access(builder: str | None, secrets: Sequence[str], ca: Path | None, *, insecure: bool) -> Access:
    """Read the flags that say how registries are reached. Raises ConfigError for a CA file that cannot be read."""
    try:
        ca_pem = ca.read_text() if ca else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f'--ca "{ca}" cannot be read: {getattr(exc, "strerror", None) or "it is not text"}') from exc
    return Access(builder=builder, secrets=tuple(secrets), ca_pem=ca_pem, insecure=insecure)


def create_request(
    sources: Sequence[str],
    files: Sequence[Path],
    tags: Sequence[str],
    annotations: Sequence[str],
    platforms: Sequence[str],
    *,
    append: bool,
    dry_run: bool,
    prefer_index: bool,
) -> CreateRequest:
    """What the flags of `create` ask for; sources in files go first, and before them what --append adds to. Raises UsageError."""
    if not sources and not files:
        raise UsageError("there is no source", hint="name the images to join, for example reg/app:amd64 reg/app:arm64")
    if not tags and not dry_run:
        raise UsageError("there is no tag to write the image to", hint="add -t REGISTRY/NAME:TAG, or --dry-run to see it")
    parsed = parse_tags(tags)
    for text in annotations:
        if ":" not in text.partition("=")[0]:
            raise UsageError(f'annotation "{text}" does not say of what', hint=f"write index:{text} or manifest-descriptor:{text}")
    first = [Named(text=str(parsed[0]), reference=parsed[0])] if append and parsed else []
    return CreateRequest(
        sources=(*first, *(parse_source(text) for text in (*map(_read, files), *sources))),
        tags=parsed,
        annotations=parse_annotations(annotations),
        platforms=parse_platforms(platforms),
        prefer_index=prefer_index,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f'--file "{path}" cannot be read: {getattr(exc, "strerror", None) or "it is not text"}') from exc


def inspect_image(name: str, access: Access, cluster: KubeFlags, *, template: str, raw: bool, as_json: bool) -> int:
    """Print an image: as a text for people, by `template`, as JSON, or its bytes as they are."""
    reference = parse_reference(name)

    async def work() -> int:
        async with _registries(access, cluster, note) as registries:
            found = await inspect(registries, reference)
            if raw:
                sys.stdout.buffer.write(found.data)
            elif as_json:
                details = await load_details(registries, found, attestations=True)
                print(json.dumps(document(name, found, details), indent=2))
            elif is_default(template):
                print(description(found), end="")
            else:
                asked = any(word in template for word in ("Provenance", "SBOM"))
                print(formatted(template, name, found, await load_details(registries, found, attestations=asked)), end="")
        return 0

    return run_async(work)


def create_image(
    request: CreateRequest, access: Access, cluster: KubeFlags, *, dry_run: bool, progress: str, metadata_file: Path | None
) -> int:
    """Join and push, or print the image with `dry_run`. `progress` is a display's mode, or "none", which is "quiet"."""
    mode = cast("Mode", "quiet" if progress == "none" else progress)
    if metadata_file is not None and not dry_run:
        check_result_file("--metadata-file", metadata_file)

    async def work() -> int:
        if dry_run:
            async with _registries(access, cluster, note) as registries:
                combined = await join_images(request, registries, emit=note)
            sys.stdout.buffer.write(combined.data + b"\n")
            return 0
        async with (
            open_display(mode, sys.stderr, environ=os.environ) as display,
            _registries(access, cluster, display.update) as registries,
        ):
            combined = await join_images(request, registries, emit=display.update)
            await write_image(combined, request.tags, registries, emit=display.update)
        if metadata_file is not None:
            write_result(metadata_file, _metadata(combined, request))
        if mode != "quiet":
            for tag in request.tags:
                print(f"pushed {tag}@{combined.descriptor['digest']}", file=sys.stderr)
        return 0

    return run_async(work)


def _metadata(combined: Combined, request: CreateRequest) -> str:
    names = ",".join(sorted({tag.repository for tag in request.tags}))
    return marshal_indent({"containerimage.descriptor": gojson.descriptor(combined.descriptor), "image.name": names}).decode()


@asynccontextmanager
async def _registries(access: Access, cluster: KubeFlags, emit: Sink) -> AsyncIterator[Registries]:
    """Registries as `access` says. The cluster is asked only when a builder or a secret is named."""
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(connected(cluster)) if access.builder or access.secrets else None
        keychain = await load_keychain(kube, access.secrets, access.builder, environ=os.environ, emit=emit)
        if kube is not None and access.builder:
            trust, dial = await _through(kube, access.builder, access, emit)
        else:
            trust, dial = (lambda _: RegistryTrust(ca_pem=access.ca_pem, insecure=access.insecure)), None
        try:
            yield await stack.enter_async_context(open_registries(keychain=keychain, trust=trust, dial=dial, emit=emit))
        except (NoTls, Untrusted) as error:
            # Elsewhere these are a builder's matter, and its configuration is the way.
            if not access.builder:
                error.hint = "add --insecure" if isinstance(error, NoTls) else "add --ca FILE with the CA that signed it, or --insecure"
            raise


async def _through(kube: KubeClient, name: str, access: Access, emit: Sink) -> tuple[Callable[[str], RegistryTrust], Dial | None]:
    """Trust and dial of a running pod of the builder `name`. Raises ClusterError when there is none."""
    builder = await require_builder(kube, name, emit=emit)
    pod = next((pod for pod in builder.pods if pod.usable), None)
    if pod is None:
        hint = f"start one: kubectl buildkit inspect {name} -n {kube.namespace} --bootstrap"
        raise ClusterError(f'builder "{name}" has no running pod', hint=hint)
    registries = await load_registries(kube, builder, pod)

    def trust(host: str) -> RegistryTrust:
        settings = registry_trust(registries, host)
        return RegistryTrust(
            ca_pem="\n".join(text for text in (settings.ca, access.ca_pem) if text),
            insecure=access.insecure or bool(settings.insecure),
            http=bool(settings.http),
        )

    return trust, await registry_dial(kube, address(pod), emit)
