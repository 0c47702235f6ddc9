"""Checks of registries: reachable from the pod and from here, with which login; an image's platforms against the nodes'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from kubectl_build.builder.spec import RegistrySettings, registry_trust
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.builder.trust import load_registries
from kubectl_build.daemons import address, registry_dial
from kubectl_build.deadlines import deadlines
from kubectl_build.doctor.finding import Finding, Level, note, ok, problem
from kubectl_build.doctor.logins import Login, find_login
from kubectl_build.doctor.patient import Patient
from kubectl_build.errors import DialError, KubectlBuildError, RegistryError, UsageError
from kubectl_build.model.events import BuildEvent
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform, normalize, runs_on
from kubectl_build.model.reference import Reference, parse_reference
from kubectl_build.registry.http import Dial, RegistryTrust, RetryPolicy
from kubectl_build.registry.inspect import Inspected, inspect, load_details
from kubectl_build.registry.pool import Registries, open_registries
from kubectl_build.values import dataclass

_ABSENT = 404
_SHOWN = 5
_IMAGES = 4
"""Names of the last build that are looked at: the daemon says them, and each is a request from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An image as it was found: None with `error` when it was not; `platforms` without what is only attested."""

    image: Inspected | None = None
    platforms: tuple[Platform, ...] = ()
    error: KubectlBuildError | None = None

    @property
    def answered(self) -> bool:
        """Whether the registry let us in: also when it has no such image."""
        return self.error is None or (isinstance(self.error, RegistryError) and self.error.status == _ABSENT)

    @property
    def refused(self) -> bool:
        """Whether the registry answered that this login does not do."""
        return isinstance(self.error, RegistryError) and self.error.status in (401, 403)


async def check_registries(patient: Patient) -> list[Finding]:
    """Look at the named image, or at those of the last build, from the pod and from here."""
    images, why = ((patient.image,), "") if patient.image is not None else await _last_images(patient)
    if not images:
        return [
            note(
                f"no registry was looked at: {why}", "", patient.typed(f"kubectl buildkit doctor {patient.name} --image REGISTRY/NAME:TAG")
            )
        ]
    hosts = {image.domain: image for image in reversed(images)}
    found = await asyncio.gather(*(_look(patient, image) for image in hosts.values()))
    return [finding for findings in found for finding in findings]


async def _last_images(patient: Patient) -> tuple[tuple[Reference, ...], str]:
    """The names of the newest build that any daemon remembers to have named."""
    replies = await patient.vitals()
    records = [record for reply in replies if reply.answer for record in reply.answer.builds if record.images]
    if not records:
        return (), "no image is named, and no build with a name is remembered"
    newest = max(records, key=lambda record: record.created)
    try:
        return tuple(parse_reference(name) for name in newest.images[:_IMAGES]), ""
    except UsageError as error:
        return (), error.message


async def _look(patient: Patient, image: Reference) -> list[Finding]:
    login, found = await find_login(patient, image.domain, image.path)
    settings, dial, why = await _way(patient)
    here, there = await asyncio.gather(_see(image, login, settings, None), _see(image, login, settings, dial) if dial else _unseen(why))
    if dial is not None:
        judged = _judged(image, login, there, patient, "from the builder's pod")
        found += [_excused(judged, login, patient), *_from_here(image, here, there)]
    else:
        found.append(note(why, "registries are reached from where the daemon is; only this machine was tried"))
        judged = _judged(image, login, here, patient, "from this machine")
        # What this machine cannot reach the daemon may.
        blamed = here.answered or here.refused
        found.append(_excused(judged, login, patient) if blamed else note(judged.what, judged.consequence, judged.command))
    seen = there if there.image is not None else here
    if seen.image is not None:
        found += await _platform_findings(patient, image, seen.platforms)
    elif seen.answered:
        found.append(note(f"{image} is not there yet", "it can be looked at when it has been pushed"))
    return found


async def _way(patient: Patient) -> tuple[Mapping[str, RegistrySettings], Dial | None, str]:
    """The builder's settings for registries and a dialer from one of its pods; None with the reason where there is no pod to go through."""
    builder = await patient.builder_if_known()
    spec = builder.spec if builder is not None else None
    settings: Mapping[str, RegistrySettings] = spec.registries if spec is not None else {}
    usable = next((pod for pod in builder.pods if pod.usable), None) if builder is not None else None
    pod = address(usable) if usable is not None else patient.pod_address
    if pod is None:
        return settings, None, "the daemon is in no pod" if patient.address is not None else "no pod of the builder runs"
    # A pod that an address names may be nobody's: what it trusts is in its files.
    owner = builder or Builder(name=patient.name, namespace=pod.namespace)
    asked = usable or PodInfo(name=pod.name, namespace=pod.namespace, uid="", architecture="")
    try:
        with suppress(DialError):  # no such file there, or nothing to read it with
            settings = await load_registries(patient.cluster, owner, asked)
        dial = await registry_dial(patient.cluster, pod, _silent)
    except KubectlBuildError as error:
        return settings, None, f"registries cannot be reached through pod {pod.name}: {error.message}"
    return settings, dial, "" if dial else f"pod {pod.name} has no nc, by which registries are reached from it"


async def _see(image: Reference, login: Login, settings: Mapping[str, RegistrySettings], dial: Dial | None) -> Seen:
    try:
        async with asyncio.timeout(deadlines().call), _registries(login, settings, dial) as registries:
            found = await inspect(registries, image)
            return Seen(image=found, platforms=await _platforms(registries, found))
    except TimeoutError:
        return Seen(error=RegistryError(f'registry "{image.domain}" did not answer within {deadlines().call:g} s'))
    except KubectlBuildError as error:
        return Seen(error=error)


async def _unseen(why: str) -> Seen:
    return Seen(error=RegistryError(why or "there is no pod"))


@asynccontextmanager
async def _registries(login: Login, settings: Mapping[str, RegistrySettings], dial: Dial | None) -> AsyncIterator[Registries]:
    def trust(host: str) -> RegistryTrust:
        said = registry_trust(settings, host)
        return RegistryTrust(ca_pem=said.ca, insecure=bool(said.insecure), http=bool(said.http))

    async with open_registries(keychain=login, trust=trust, dial=dial, retry=RetryPolicy(attempts=1)) as registries:
        yield registries


async def _platforms(registries: Registries, found: Inspected) -> tuple[Platform, ...]:
    """The platforms of an index's images, or of the lone image, whose config says it."""
    if found.is_index:
        said = [entry.get("platform") or {} for entry in found.document.get("manifests") or ()]
    else:
        said = list((await load_details(registries, found, attestations=False)).images.values())
    named = [item for item in said if item.get("architecture") not in (None, "", "unknown")]
    return tuple(dict.fromkeys(normalize(*(str(item.get(key) or "") for key in ("os", "architecture", "variant"))) for item in named))


def _judged(image: Reference, login: Login, seen: Seen, patient: Patient, where: str) -> Finding:
    host = image.domain
    if seen.answered:
        return ok(f"registry {host} answers {where}, with {login.words}")
    assert seen.error is not None, "what has not answered has an error"
    if seen.refused:
        anonymous = f"registry {host} wants a login, and none was found"
        words = f"registry {host} refuses {login.words}: {seen.error.message}" if login.credentials is not None else anonymous
        return problem(words, f"builds cannot pull from {host} or push to it", _login_command(login, patient, host))
    consequence = f"builds cannot pull from {host} or push to it" + (f"; {seen.error.hint}" if seen.error.hint else "")
    return problem(f"registry {host} cannot be used {where}: {seen.error.message}", consequence, _reach_command(patient))


def _excused(judged: Finding, login: Login, patient: Patient) -> Finding:
    """The last build may have been given a login that is not known here."""
    if judged.level is not Level.PROBLEM or login.credentials is not None or patient.image is not None:
        return judged
    return note(judged.what, f"{judged.consequence} unless they are given a login by --registry-secret", judged.command)


def _login_command(login: Login, patient: Patient, host: str) -> str:
    if patient.kube is None or (login.credentials is not None and not login.secret):
        return f"docker login {host}"
    name, namespace = login.secret or (patient.secrets or (patient.name,))[0], patient.kube.namespace
    create = f"kubectl create secret docker-registry {name} -n {namespace} --docker-server={host} --docker-username=USER"
    return f"{create} --docker-password=PASSWORD --dry-run=client -o yaml | kubectl apply -f -"


def _reach_command(patient: Patient) -> str:
    return patient.typed(f"kubectl buildkit inspect {patient.name}") if patient.address is None else ""


def _from_here(image: Reference, here: Seen, there: Seen) -> list[Finding]:
    """What this machine sees that the pod does not, or the other way round. Builds go through the pod."""
    if here.answered:
        return [ok(f"registry {image.domain} answers from this machine too")]
    assert here.error is not None, "what has not answered has an error"
    if not there.answered:
        return []
    words = f"registry {image.domain} cannot be used from this machine: {here.error.message}"
    return [note(words, "builds go through the pod; imagetools does with --builder only")]


async def _platform_findings(patient: Patient, image: Reference, platforms: tuple[Platform, ...]) -> list[Finding]:
    """Which nodes could not run the image."""
    shown = ", ".join(map(str, platforms))
    if patient.kube is None:
        return [ok(f"{image} is for {shown}")]
    try:
        nodes = await patient.nodes()
    except KubectlBuildError as error:
        return [ok(f"{image} is for {shown}"), note(f"which nodes run it is not known: {error.message}")]
    unable = [node for node in nodes if not any(_runs(platform, node) for platform in platforms)]
    if not unable:
        return [ok(f"{image} is for {shown}: every node runs it")]
    names = [f"{node['metadata']['name']} ({_os(node)}/{_architecture(node)})" for node in unable]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    missing = sorted({f"{_os(node)}/{_architecture(node)}" for node in unable})
    words = f"{image} is for {shown}; it does not run on {', '.join(names[:_SHOWN])}{more}"
    wanted = ",".join([*map(str, platforms), *missing])
    return [note(words, "its pods fail there, unless they select other nodes", f"kubectl build . -t {image} --platform={wanted} --push")]


def _runs(platform: Platform, node: JsonObject) -> bool:
    if platform.os != "linux" or _os(node) != "linux":
        return platform.os == _os(node) and platform.architecture == _architecture(node)
    return runs_on(platform, _architecture(node))


def _os(node: JsonObject) -> str:
    return str((node["metadata"].get("labels") or {}).get("kubernetes.io/os", "linux"))


def _architecture(node: JsonObject) -> str:
    return str((node["metadata"].get("labels") or {}).get("kubernetes.io/arch", ""))


def _silent(event: BuildEvent) -> None:
    """Whether the pod has nc is told as a finding."""
