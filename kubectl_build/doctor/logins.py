"""Which login a build would use for a registry, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.credentials.docker_config import DockerConfigKeychain
from kubectl_build.credentials.kube_secret import SecretMissing, load_secret_keychain
from kubectl_build.doctor.finding import Finding, note, problem
from kubectl_build.doctor.patient import Patient
from kubectl_build.errors import ConfigError, KubectlBuildError
from kubectl_build.model.credentials import Credentials, Keychain
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What was found: `where` in words, `secret` when it is one in the cluster. Without `credentials` the registry is asked anonymously."""

    credentials: Credentials | None = None
    where: str = ""
    secret: str = ""

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        """As a Keychain: this login, for whoever asks. It is used for the one registry that it was found for."""
        return self.credentials

    @property
    def words(self) -> str:
        """How it is told."""
        if self.credentials is None:
            return "no login (anonymous)"
        name = f'login "{self.credentials.username}"' if self.credentials.username else "token"
        return f"{name} from {self.where}"


async def find_login(patient: Patient, host: str, repository: str) -> tuple[Login, list[Finding]]:
    """Look where a build looks, in the same order; what keeps a source from being used is a finding."""
    chain, found = await _secrets(patient)
    for name, keychain in chain:
        if (credentials := await keychain.resolve(host, repository)) is not None:
            return Login(credentials=credentials, where=f'secret "{name}"', secret=name), found
    try:
        stands = await DockerConfigKeychain(patient.environ).find(host, repository)
    except ConfigError as error:
        return Login(), [*found, problem(error.message, "builds end at once", f"docker login {host}")]
    if stands is None:
        return Login(), found
    return Login(credentials=stands[0], where=stands[1]), found


async def _secrets(patient: Patient) -> tuple[list[tuple[str, Keychain]], list[Finding]]:
    """The secrets that were named, else the one that is named like the builder."""
    chain: list[tuple[str, Keychain]] = []
    found: list[Finding] = []
    if patient.kube is None:
        return chain, found
    names: Sequence[str] = patient.secrets or ([patient.name] if patient.address is None else [])
    for name in names:
        try:
            chain.append((name, await load_secret_keychain(patient.kube, patient.kube.namespace, name)))
        except SecretMissing as error:
            if patient.secrets:
                found.append(problem(error.message, "builds that name it end at once", error.hint or ""))
        except KubectlBuildError as error:
            if patient.secrets:
                found.append(problem(error.message, "builds that name it end at once", error.hint or ""))
            else:
                found.append(note(error.message, "builds go on without it", f"kubectl get secret {name} -n {patient.kube.namespace}"))
    return chain, found
