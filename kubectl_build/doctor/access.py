"""Checks of the way to the cluster: the context, the API server with its version and clock, proxies."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

from kubectl_build.cluster.proxy import proxy_for
from kubectl_build.doctor.clocks import LARGEST_SKEW, clock_skew
from kubectl_build.doctor.finding import Finding, note, ok, problem
from kubectl_build.doctor.patient import Patient
from kubectl_build.errors import ApiUnreachable, ConfigError, Unauthorized

_OLDEST = (1, 26)
"""Server-side apply and exec over WebSocket work before, but nothing is tested there."""
_SLOW = 1.0
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


async def check_api(patient: Patient) -> list[Finding]:
    """Who answers, how fast, which version, and whether the clocks agree."""
    kube = patient.cluster
    before = time.time()
    try:
        version = await kube.server_version()
    except (ApiUnreachable, Unauthorized, ConfigError) as error:
        command = "kubectl cluster-info" if isinstance(error, ApiUnreachable) else "kubectl auth whoami"
        return [problem(error.message, "nothing can be built, and nothing else was examined", command)]
    after = time.time()
    found = [ok(f"Kubernetes {version} answers at {kube.server} in {(after - before) * 1000:.0f} ms")]
    if after - before > _SLOW:
        found.append(note("the API server is slow", "contexts and results go through it, so builds are slow too"))
    numbers = re.match(r"v(\d+)\.(\d+)", version)
    if numbers and (int(numbers.group(1)), int(numbers.group(2))) < _OLDEST:
        found.append(note(f"Kubernetes {version} is older than v{_OLDEST[0]}.{_OLDEST[1]}", "what works there has not been tested"))
    return [*found, *clock_findings(kube.server_time, before, after)]


def clock_findings(server: datetime | None, before: float, after: float) -> list[Finding]:
    """Compare the API server's clock, asked between the times `before` and `after` of ours, with ours."""
    if server is None:
        return [note("the API server does not say its time", "whether the clocks agree is not known")]
    skew = clock_skew(server.replace(tzinfo=server.tzinfo or UTC).timestamp(), before, after)
    if abs(skew) <= LARGEST_SKEW:
        return [ok("this machine's clock agrees with the API server's")]
    words = f"this machine's clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the API server's"
    return [note(words, "logins and certificates that are valid for a short time may be refused", "timedatectl status")]


async def check_context(patient: Patient) -> list[Finding]:
    """Which context, and as whom."""
    kube = patient.cluster
    context = f'context "{kube.context_name}"' if kube.context_name else "no context"
    return [ok(f'{context}, user "{await patient.user()}", namespace "{kube.namespace}"')]


async def check_proxies(patient: Patient) -> list[Finding]:
    """Which proxies the environment names, and whether the builder's daemons have them too."""
    environ = patient.environ
    set_ = {name: value for name in _PROXIES if (value := environ.get(name) or environ.get(name.lower()))}
    if not set_.keys() - {"NO_PROXY"}:
        return [ok("no proxy in the environment")]
    shown = ", ".join(f"{name}={_without_login(value)}" for name, value in set_.items())
    found = [note(f"the environment has {shown}", "registries are reached through it from this machine")]
    if patient.kube is not None and proxy_for(patient.kube.server, None, environ):
        host = urlsplit(patient.kube.server).hostname
        words = "the API server is reached through the proxy, unless the kubeconfig says otherwise"
        found.append(note(words, "the proxy has to let WebSockets through", f"export NO_PROXY={host}"))
    builder = await patient.builder_if_known()
    if builder is not None and builder.spec is not None and not any(name.upper() in _PROXIES for name in builder.spec.env):
        words = f'builder "{builder.name}" has no proxy in its environment'
        command = patient.changed('--https-proxy="$HTTPS_PROXY" --no-proxy="$NO_PROXY"')
        found.append(note(words, "its daemons reach registries directly", command))
    return found


def _without_login(value: str) -> str:
    return re.sub(r"//[^/@]*@", "//", value)
