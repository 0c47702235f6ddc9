"""What steps may use and reach: --add-host, --allow, --network, --shm-size, --ulimit, --resource and the old flags of limits.

Rules: docker/buildx build/utils.go and util/buildflags/entitlements.go, docker/go-units ulimit.go (pure).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from kubectl_build.cli.options.fields import parse_fields, parse_size
from kubectl_build.cli.options.outputs import LOCAL_DELETE
from kubectl_build.errors import UsageError
from kubectl_build.model.request import ENTITLEMENTS

# fmt: off
_ULIMITS = frozenset((
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending",
    "stack",
))
# fmt: on
_SIZES = {"memory": "memory", "memory-swap": "memswap"}
_NUMBERS = {"cpu-shares": "cpushares", "cpu-period": "cpuperiod", "cpu-quota": "cpuquota"}
_TEXTS = {"cpuset-cpus": "cpusetcpus", "cpuset-mems": "cpusetmems"}
_INT64 = 2**63


def parse_add_hosts(texts: Iterable[str]) -> tuple[str, ...]:
    """Parse --add-host, each a CSV list of HOST:IP or HOST=IP; an IPv6 address may be in brackets. Returns "HOST=IP". Raises UsageError."""
    result: list[str] = []
    for item in (item for text in texts for item in parse_fields("--add-host", text)):
        sign = "=" if "=" in item else ":"
        host, _, addresses = item.partition(sign)
        if addresses == "host-gateway":
            raise UsageError(f'--add-host "{item}": host-gateway is not supported, a builder in a cluster has no such host')
        for address in addresses.split(","):
            bare = address[1:-1] if len(address) > 2 and address[0] == "[" and address[-1] == "]" else address
            if not host or not _is_ip(bare):
                raise UsageError(f'--add-host: invalid host "{item}"', hint="write HOST:IP, for example db:10.0.0.1 or db=[::1]")
            result.append(f"{host}={bare}")
    return tuple(result)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def parse_entitlements(texts: Iterable[str]) -> tuple[tuple[str, ...], bool]:
    """Parse --allow. Returns what the daemon is to grant, and whether buildx.local.delete is given, which concerns the client.

    Raises UsageError.
    """
    granted: list[str] = []
    local_delete = False
    for text in texts:
        if not text:
            continue
        key, equals, value = text.partition("=")
        if key == LOCAL_DELETE:
            if equals:
                raise UsageError(f'--allow "{text}": {LOCAL_DELETE} does not accept a value')
            local_delete = True
            continue
        if key not in ENTITLEMENTS or (equals and key != "device"):
            raise UsageError(f"invalid entitlement: {text}", hint=f"--allow takes {', '.join(ENTITLEMENTS)} and {LOCAL_DELETE}")
        if key == "device" and value:
            _check_device(text, parse_fields("--allow", value))
        granted.append(text)
    return tuple(granted), local_delete


def _check_device(text: str, fields: list[str]) -> None:
    for item in fields[1:]:
        key, equals, _ = item.partition("=")
        if not equals or key != "alias":
            raise UsageError(f'--allow "{text}": invalid device config "{item}"', hint="write device=NAME or device=NAME,alias=OTHER")


def parse_network(text: str) -> str:
    """Parse --network: "" for the default, else "none" or "host". Raises UsageError."""
    if text in ("", "default"):
        return ""
    if text not in ("none", "host"):
        raise UsageError(f'network mode "{text}" not supported by buildkit', hint="--network takes default, none and host")
    return text


def parse_shm_size(text: str) -> int:
    """Parse --shm-size to bytes; "" is 0. Raises UsageError."""
    size = parse_size(text) if text else 0
    if size is None:
        raise UsageError(f'--shm-size: invalid size: "{text}"', hint="write bytes with a unit, for example 128m")
    return size


def parse_ulimits(texts: Iterable[str]) -> tuple[str, ...]:
    """Parse --ulimit NAME=SOFT[:HARD] to "NAME=SOFT:HARD", sorted; of equal names the last counts. Raises UsageError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f'invalid ulimit argument: "{text}"', hint="write --ulimit NAME=SOFT[:HARD], for example nofile=1024:2048")
        if name not in _ULIMITS:
            raise UsageError(f'invalid ulimit type: "{name}"', hint=f"types are {', '.join(sorted(_ULIMITS))}")
        limits = [_parse_int(part) for part in value.split(":")]
        if len(limits) > 2:
            raise UsageError(f'--ulimit "{text}": too many limit value arguments, there are at most two', hint="write SOFT[:HARD]")
        soft, hard = limits[0], limits[-1]
        if soft is None or hard is None:
            raise UsageError(f'--ulimit "{text}": a limit is not a number')
        if hard != -1 and (soft == -1 or soft > hard):
            raise UsageError(f'--ulimit "{text}": ulimit soft limit must be less than or equal to hard limit')
        found[name] = f"{name}={soft}:{hard}"
    return tuple(found[name] for name in sorted(found))


def parse_resources(texts: Iterable[str]) -> dict[str, str]:
    """Parse --resource KEY=VALUE to the frontend's attributes; a limit of zero is none. Raises UsageError."""
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f'invalid resource "{text}", expected key=value')
        if key in _TEXTS:
            result[_TEXTS[key]] = value
            continue
        if key in _SIZES:
            number = -1 if key == "memory-swap" and value == "-1" else parse_size(value)
        elif key in _NUMBERS:
            number = _parse_int(value)
        else:
            raise UsageError(f'unknown resource "{key}"', hint=f"resources are {', '.join([*_SIZES, *_NUMBERS, *_TEXTS])}")
        if number is None:
            raise UsageError(f'invalid value "{value}" for resource {key}')
        attribute = (_SIZES | _NUMBERS)[key]
        result[attribute] = str(number) if number > 0 or (attribute == "memswap" and number) else ""
    return {name: value for name, value in result.items() if value}


def _parse_int(text: str) -> int | None:
    """Read a 64-bit integer as Go's strconv.ParseInt does in base 10."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits.lstrip("0")) > 19:
        return None
    number = int(text)
    return number if -_INT64 <= number < _INT64 else None
