"""What aiohttp raises, as errors for the user: who could not be reached, from where, and why."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from yarl import URL

from kubectl_build.errors import ConnectionLost, DialError, ExecError, KubectlBuildError, RegistryError
from kubectl_build.registry.links import Link

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})
_UNKNOWN_CA = frozenset({18, 19, 20, 21})  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT and the three that follow it


class NoTls(RegistryError):
    """The server answered a TLS greeting with something that is not TLS."""


class Untrusted(RegistryError):
    """The server's certificate is signed by nobody that is trusted, or is for another name."""


class Refused(RegistryError):
    """Nothing listens at the address."""

    transient = True


class Broken(RegistryError):
    """The connection ended before the answer did: worth another try."""

    transient = True


@contextmanager
def converted(registry: str, url: URL, link: Link, *, deadline: float) -> Iterator[None]:
    """Turn what aiohttp raises in the body into a RegistryError. `deadline` (seconds) is what a TimeoutError exceeded."""
    who = f'registry "{registry}"'
    if url.host and url.host not in (registry.partition(":")[0], registry):
        who += f" (at {url.authority})"
    try:
        yield
    except TimeoutError as exc:
        raise RegistryError(f"{who} did not answer within {deadline:g} s", transient=True) from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        raise _untrusted(who, registry, exc.certificate_error) from exc
    except aiohttp.ClientConnectorSSLError as exc:
        reason = getattr(exc.os_error, "reason", None) or str(exc.os_error)
        if reason in _NO_TLS:
            hint = f"if it is meant to speak plain HTTP, push with -o type=registry,registry.insecure=true, or set http for {registry}"
            raise NoTls(f"{who} answers plain HTTP where HTTPS is expected", hint=hint) from exc
        raise _from_bridge(link, who) or RegistryError(f"{who} cannot be reached: TLS failed: {reason}") from exc
    except aiohttp.ClientConnectorDNSError as exc:
        raise RegistryError(f"{who} cannot be reached: the name {url.host} is not known here") from exc
    except aiohttp.ClientConnectorError as exc:
        if exc.os_error.errno == errno.ECONNREFUSED:
            raise Refused(f"{who} cannot be reached: connection to {url.authority} refused") from exc
        if isinstance(exc.os_error, ConnectionError):  # in the TLS handshake, so nothing was sent; asyncio's own has no number
            why = exc.os_error.strerror or "it was closed in the TLS handshake"
            raise _from_bridge(link, who) or Broken(f"the connection to {who} broke: {why}") from exc
        raise RegistryError(f"{who} cannot be reached: {exc.os_error.strerror or exc.os_error}") from exc
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError) as exc:
        raise _from_bridge(link, who) or Broken(f"the connection to {who} broke: {exc}") from exc
    except (aiohttp.ClientError, ValueError) as exc:
        raise RegistryError(f"{who} cannot be used: {exc}") from exc


def _from_bridge(link: Link, who: str) -> KubectlBuildError | None:
    """Why the stream behind the bridge failed, if that is what happened.

    One that could not be made is the registry's failure as the pod sees it, one that merely broke is worth another try, and what is about
    the exec (forbidden, a pod that is gone) passes as it is: another pod may do.
    """
    failure = link.bridge.failure if link.bridge else None
    if failure is None or not isinstance(failure, ConnectionLost) or isinstance(failure, ExecError):
        return failure
    kind = RegistryError if isinstance(failure, DialError) else Broken
    return kind(f"{who} cannot be reached from the builder: {failure.message}", hint=failure.hint)


def _untrusted(who: str, registry: str, exc: Exception) -> Untrusted:
    why = getattr(exc, "verify_message", "") or str(exc)
    hint = None
    if getattr(exc, "verify_code", None) in _UNKNOWN_CA:
        hint = (
            f"give the builder its CA: kubectl buildkit create --registry {registry},ca=FILE, "
            f"or registries of the ConfigMap kubectl-build-defaults"
        )
    return Untrusted(f"the certificate of {who} is not trusted: {why}", hint=hint)
