"""Which HTTP proxy leads to the API server: the kubeconfig's, else the environment's by the rules of Go's httpproxy, which kubectl uses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from kubectl_build.errors import ConfigError


def proxy_for(server: str, configured: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the proxy's URL or None. Raises ConfigError for one that cannot be used (socks5, nonsense)."""
    if configured:
        return _checked(configured, "the kubeconfig's proxy-url")
    url = urlsplit(server)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    name = "HTTPS_PROXY" if url.scheme == "https" else "HTTP_PROXY"
    value = environ.get(name) or environ.get(name.lower()) or ""
    if not value or _is_local(host) or _excluded(host, port, environ.get("NO_PROXY") or environ.get("no_proxy") or ""):
        return None
    return _checked(value if "://" in value else f"http://{value}", f"the environment's {name}")


def _checked(proxy: str, source: str) -> str:
    try:
        url = urlsplit(proxy)
        usable = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        usable, url = False, urlsplit("")
    if usable and url.scheme in ("http", "https"):
        return proxy
    if url.scheme.startswith("socks"):
        raise ConfigError(f"{source} is a {url.scheme} proxy, which is not supported", hint="use a proxy of the kind http:// or https://")
    raise ConfigError(f"{source} is not the URL of a proxy")


def _is_local(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _excluded(host: str, port: int, no_proxy: str) -> bool:
    address = _address(host)
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        if entry == "*":
            return True
        if not entry:
            continue
        if "/" in entry:
            try:
                if address is not None and address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                pass
            continue
        name, wanted = _split_port(entry)
        if wanted is not None and wanted != port:
            continue
        if address is not None:
            if _address(name) == address:
                return True
        else:
            # ".example.com" and "*.example.com" are the names below, "example.com" is also the name itself.
            below = name.startswith((".", "*."))
            if (host if below else f".{host}").lower().endswith("." + name.removeprefix("*").lstrip(".")):
                return True
    return False


def _split_port(entry: str) -> tuple[str, int | None]:
    if _address(entry) is not None:
        return entry, None
    name, colon, port = entry.rpartition(":")
    return (name, int(port)) if colon and port.isascii() and port.isdigit() and len(port) < 6 else (entry, None)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
