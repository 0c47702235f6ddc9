"""What several pools made of one build, joined: one index, written to every tag from where the daemons push."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.builder.spec import RegistrySettings
from kubectl_build.buildkit.response import DESCRIPTOR, DIGEST, NAME, encode_descriptor, parse_descriptor, raw_descriptor
from kubectl_build.model.credentials import Keychain
from kubectl_build.model.events import Sink
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest
from kubectl_build.pools import Route
from kubectl_build.registry.client import RegistryTrust
from kubectl_build.registry.index import Child, IndexDocument, merge_index
from kubectl_build.registry.publish import publish_index
from kubectl_build.share import Share


def join_shares(platforms: Sequence[Platform], shares: Sequence[Share]) -> IndexDocument:
    """The index over what the pools made, as one daemon would have written it. Raises ProtocolError."""
    children = [
        Child(descriptor=parse_descriptor(share.result.response), raw_descriptor=raw_descriptor(share.result.response), index=share.index)
        for share in shares
    ]
    return merge_index(platforms, children)


def index_response(document: IndexDocument, request: BuildRequest) -> dict[str, str]:
    """What an exporter would have answered for `document`."""
    names = ",".join(str(name) for name in request.names or request.tags)
    return {DIGEST: document.digest, DESCRIPTOR: encode_descriptor(document.descriptor), **({NAME: names} if names else {})}


async def publish(document: IndexDocument, request: BuildRequest, route: Route, *, keychain: Keychain, emit: Sink) -> None:
    """Write `document` to every name of `request`, by `route`. Raises RegistryError, ConnectionLost."""
    await publish_index(
        document,
        request.names,
        keychain=keychain,
        trust=lambda host: trust(route.settings(host), request, host),
        dial=route.dial,
        emit=emit,
    )


def trust(settings: RegistrySettings, request: BuildRequest, host: str) -> RegistryTrust:
    """How this client reaches `host`: as the builder's daemons do, plus what the pushing output says for itself."""
    return RegistryTrust(ca_pem=settings.ca, insecure=request.pushes_insecurely(host) or bool(settings.insecure), http=bool(settings.http))
