"""Where a build's logins come from, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubectl_build.credentials.docker_config import DockerConfigKeychain
from kubectl_build.credentials.kube_secret import SecretForbidden, SecretMissing, SecretReader, load_secret_keychain
from kubectl_build.errors import ConfigError
from kubectl_build.model.credentials import Credentials, Keychain
from kubectl_build.model.events import Note, Sink


class ChainedKeychain:
    """Asks one keychain after the other; the first login counts. Without any it is the anonymous keychain."""

    def __init__(self, *keychains: Keychain) -> None:
        self._keychains = keychains

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        """Return the first login for `host`, None when no keychain has one."""
        for keychain in self._keychains:
            if (found := await keychain.resolve(host, repository)) is not None:
                return found
        return None


async def load_keychain(
    kube: SecretReader | None, secrets: Sequence[str], builder: str | None, *, environ: Mapping[str, str], emit: Sink
) -> ChainedKeychain:
    """The logins of the named `secrets`, else of the secret called like `builder` if that is one; then docker's.

    Secrets are those of the client's namespace. Raises ConfigError for a named secret that is missing, malformed, of another type or not
    readable; where Tilt has named one that is missing, that is a note. The secret called like the builder is used when it can be; why it
    cannot is a note, unless it does not exist. A daemon by address has no such secret (`builder` None), and with one outside a cluster
    (`kube` None) none can be named.
    """
    keychains: list[Keychain] = []
    if kube is not None:
        keychains += (
            await _secrets(kube, secrets, environ, emit) if secrets or builder is None else await _builders_secret(kube, builder, emit)
        )
    elif secrets:
        hint = "use docker's config for its logins"
        raise ConfigError(f'secret "{secrets[0]}" cannot be read: the builder is not in a cluster', hint=hint)
    return ChainedKeychain(*keychains, DockerConfigKeychain(environ))


async def _secrets(kube: SecretReader, names: Sequence[str], environ: Mapping[str, str], emit: Sink) -> list[Keychain]:
    keychains: list[Keychain] = []
    for name in dict.fromkeys(names):
        try:
            keychains.append(await load_secret_keychain(kube, kube.namespace, name))
        except SecretMissing as exc:
            if not _named_by_tilt(name, environ):
                raise
            emit(Note(text=f"{exc.message}; going on without it, since Tilt names it whether or not there is one"))
    return keychains


async def _builders_secret(kube: SecretReader, builder: str, emit: Sink) -> list[Keychain]:
    try:
        return [await load_secret_keychain(kube, kube.namespace, builder)]
    except SecretMissing:
        pass
    except SecretForbidden:
        emit(Note(text=f'the registry secret "{builder}", if there is one, may not be read; going on without it'))
    except ConfigError as exc:
        emit(Note(text=f"{exc.message}; going on without it", level="warning"))
    return []


def _named_by_tilt(name: str, environ: Mapping[str, str]) -> bool:
    """Whether Tilt's extension kubectl_build has named this secret, as it does in each build: by its variable, or that one's default.

    Tilt gives its commands the image to build in EXPECTED_REF (tilt-dev/tilt-extensions, kubectl_build/Tiltfile).
    """
    return "EXPECTED_REF" in environ and name == environ.get("KUBECTL_BUILD_REGISTRY_SECRET", "docker-registry")
