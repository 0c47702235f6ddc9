"""TLS to a daemon's TCP port, with the client's certificate where one is given."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, DialError, UsageError
from kubectl_build.model.stream import ByteStream, Dialer
from kubectl_build.transport.addresses import TlsFiles
from kubectl_build.transport.sockets import CHUNK, connected_socket, words

_CLOSE_SECONDS = 1.0
_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE")
"""What is in OpenSSL's names of the alerts by which a server refuses a client's certificate, or the lack of one."""


class TlsStream:
    """A ByteStream over TLS, on asyncio's transport, which it owns. `where` is the peer in messages, `files` what it was given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str, files: TlsFiles) -> None:
        self._reader = reader
        self._writer = writer
        self._where = where
        self._files = files
        self._closed = False
        self._heard = False

    async def receive(self) -> bytes:
        self._check()
        try:
            data = await self._reader.read(CHUNK)
        except OSError as exc:
            self._check()
            raise self._lost(exc) from exc
        self._check()
        self._heard = True
        return data

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        self._check()
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as exc:
            self._check()
            raise self._lost(exc) from exc

    async def send_eof(self) -> None:
        """TLS has no half-close that servers expect."""
        self._check()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._writer.wait_closed()
        self._writer.transport.abort()  # a peer that does not answer our goodbye

    def _check(self) -> None:
        if self._closed:
            raise ConnectionLost(f"the connection to {self._where} is closed")

    def _lost(self, exc: OSError) -> ConnectionLost:
        # With TLS 1.3 a server looks at the client's certificate when the handshake is over for the client: its refusal is read here.
        if isinstance(exc, ssl.SSLError):
            return _refused(exc, self._where, self._files)
        if isinstance(exc, ConnectionError) and not self._heard:
            return _hung_up(self._where, self._files)
        return ConnectionLost(f"the connection to {self._where} was lost: {_words(exc)}")


def tls_dialer(host: str, port: int, files: TlsFiles) -> Dialer:
    """Dial host:port with TLS for HTTP/2; the name checked is `files.server_name`, else `host`.

    The files are read at once. Raises UsageError for one that cannot be read or used.
    """
    context = _context(files)
    where = f"{host}:{port}"

    async def dial() -> ByteStream:
        sock = await connected_socket(host, port)
        try:
            async with asyncio.timeout(deadlines().connect):
                reader, writer = await asyncio.open_connection(
                    sock=sock, ssl=context, server_hostname=files.server_name or host, limit=CHUNK
                )
        except TimeoutError as exc:
            raise DialError(f"{where} did not finish the TLS handshake within {deadlines().connect:g} s") from exc
        except ssl.SSLError as exc:
            raise _refused(exc, where, files) from exc
        except OSError as exc:
            raise DialError(f"{where} ended the connection during the TLS handshake: {_words(exc)}") from exc
        return TlsStream(reader, writer, where, files)

    return dial


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context() if files.ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Python 3.13 asks for extensions (RFC 5280 authority key identifiers) that home-made authorities lack, and Go does not.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    context.set_alpn_protocols(["h2"])
    if files.ca is not None:
        pem = _read(files.ca, "cacert")
        try:
            context.load_verify_locations(cadata=pem.decode("ascii"))
        except (ssl.SSLError, ValueError) as exc:
            raise UsageError(f'cacert "{files.ca}" has no certificate in PEM') from exc
    if files.cert is not None and files.key is not None:
        _read(files.cert, "cert")
        _read(files.key, "key")
        try:
            context.load_cert_chain(files.cert, files.key, password=_no_password)
        except (ssl.SSLError, ValueError) as exc:
            raise UsageError(f'cert "{files.cert}" and key "{files.key}" cannot be used together: {_words(exc)}') from exc
    return context


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise UsageError(f'{option} "{path}" cannot be read: {_words(exc)}') from exc


def _hung_up(where: str, files: TlsFiles) -> DialError:
    """A server that refuses a certificate closes at once: when we have sent something by then, its reset may overtake its alert."""
    wish = f'does not accept the client certificate "{files.cert}"' if files.cert else "wants a client certificate"
    error = DialError(f"{where} hung up before it answered: it probably {wish}", hint=None if files.cert else "give it with cert= and key=")
    error.transient = False
    return error


def _refused(exc: ssl.SSLError, where: str, files: TlsFiles) -> DialError:
    error = _reason(exc, where, files)
    error.transient = False  # the same files meet the same refusal
    return error


def _reason(exc: ssl.SSLError, where: str, files: TlsFiles) -> DialError:
    if isinstance(exc, ssl.SSLCertVerificationError):
        hint = "cacert= names the authority's file, servername= the name that the certificate is for"
        return DialError(f"the certificate of {where} is not trusted: {exc.verify_message.rstrip('.').lower()}", hint=hint)
    reason = exc.reason or ""
    if "ALERT" in reason and any(word in reason for word in _CERTIFICATE_ALERTS):
        if files.cert is None:
            return DialError(f"{where} wants a client certificate", hint="give it with cert= and key=")
        return DialError(f'{where} does not accept the client certificate "{files.cert}": {_words(exc)}')
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return DialError(f"{where} does not speak TLS", hint="leave out cacert, cert, key and servername for a daemon without TLS")
    return DialError(f"the TLS connection to {where} failed: {_words(exc)}")


def _words(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or str(exc)).replace("_", " ").lower()
    return words(exc)


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, in the middle of whatever goes on.
    raise ValueError("the key is encrypted")
