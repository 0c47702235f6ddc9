"""Two programs that drive this command line and read what it prints: their exact arguments, environment and regular expression.

kbld (pkg/kbld/builder/kubectlbuildkit) looks for the image's digest on stderr; Tilt's extension kubectl_build has a shell run the command,
with the name of the image in a variable.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace, Result
from tests.e2e.registry import Registry

KBLD_DIGEST = re.compile(r"exporting manifest (sha256:)?([0-9a-z]+) ")
FILES: dict[str, str | bytes] = {"Dockerfile": "FROM busybox AS base\nRUN echo hello >/hello\nFROM base AS more\nRUN echo more >/more\n"}


@pytest.fixture(scope="module")
def logins(namespace: Namespace) -> Namespace:
    """The namespace with the secrets that both take when nobody names one."""
    namespace.secret("buildkit")
    namespace.secret("docker-registry")
    return namespace


def kbld(namespace: Namespace, directory: Path, repository: str, *options: str, push: bool = True) -> tuple[Result, str]:
    """Run what kbld runs in `directory`; the result, and the digest that it would take from it."""
    tag = f"{secrets.token_hex(25)}-{re.sub('[^a-z0-9]+', '-', repository)}"[:128]
    name = f"{namespace.cluster.registry}/{repository}:{tag}" if push else f"kbld:{tag}"
    pushed = ["--push"] if push else []
    result = namespace.kubectl("buildkit", "build", "--progress=plain", *options, *pushed, "--tag", name, ".", cwd=directory).ok()
    found = KBLD_DIGEST.search(result.stderr)
    assert found is not None, str(result)
    return result, f"sha256:{found.group(2)}"


def stored(namespace: Namespace, digest: str) -> Any:
    """The manifest `digest` in the store of the builder's daemon, asked of BuildKit's own client."""
    return namespace.kubectl("exec", "buildkit-amd64-0", "-c", "buildkitd", "--", "buildctl", "debug", "get", digest).json()


def test_kbld_build_and_push_finds_the_digest_that_was_pushed(logins: Namespace, context: Callable[..., Path], registry: Registry) -> None:
    repository = logins.repository("kbld")

    result, digest = kbld(logins, context(FILES), repository)

    assert result.stdout == ""
    (tag,) = registry.tags(repository)
    assert registry.manifest(repository, tag).digest == digest
    assert registry.image(repository, digest).files["more"] == b"more\n"


def test_kbld_build_again_finds_the_same_digest_though_every_step_is_cached(
    logins: Namespace, context: Callable[..., Path], registry: Registry
) -> None:
    repository = logins.repository("kbld")

    digests = {kbld(logins, context(FILES), repository)[1] for _ in range(2)}

    (digest,) = digests
    assert {registry.manifest(repository, tag).digest for tag in registry.tags(repository)} == {digest}


def test_kbld_with_all_its_options_builds_what_they_say(logins: Namespace, context: Callable[..., Path], registry: Registry) -> None:
    repository = logins.repository("kbld")
    directory = context({"build/Dockerfile.dev": FILES["Dockerfile"]})
    options = ["--target", "base", "--platform", "linux/amd64", "--pull", "--no-cache", "--file", "build/Dockerfile.dev"]

    _, digest = kbld(logins, directory, repository, *options, "--build-arg=A=b")

    image = registry.image(repository, digest)
    assert image.files["hello"] == b"hello\n"
    assert "more" not in image.files
    assert image.platform == "linux/amd64"


def test_kbld_without_a_push_finds_the_digest_in_the_builders_store(logins: Namespace, context: Callable[..., Path]) -> None:
    result, digest = kbld(logins, context(FILES), "app", push=False)

    assert result.stdout == ""
    assert stored(logins, digest)["config"]


def test_kbld_on_two_platforms_finds_a_digest_that_can_be_pulled(
    logins: Namespace, context: Callable[..., Path], registry: Registry
) -> None:
    repository = logins.repository("kbld")

    _, digest = kbld(logins, context(FILES), repository, "--platform", "linux/amd64,linux/arm64")

    (tag,) = registry.tags(repository)
    images = registry.images(repository, tag)
    assert tuple(images) == ("linux/amd64", "linux/arm64")
    # BuildKit tells of each platform's manifest before their index, so kbld takes one platform's image, as it always has.
    assert digest in {image.digest for image in images.values()}
    assert registry.manifest(repository, digest).digest == digest


@pytest.fixture
def tilt(logins: Namespace, context: Callable[..., Path]) -> Callable[..., tuple[Result, str]]:
    """Run what Tilt's extension runs: a shell command whose words are quoted, but for the image's name, which is in a variable."""
    kube_context = logins.kubectl("config", "current-context").ok().stdout.strip()

    def run(directory: Path, *options: str, dockerfile: Path | None = None, contents: str | None = None) -> tuple[Result, str]:
        repository = logins.repository("tilt")
        variables = {
            "EXPECTED_REF": f"{logins.cluster.registry}/{repository}:tilt-build-{secrets.token_hex(8)}",
            "EXPECTED_REGISTRY": logins.cluster.registry,
            "KUBECTL_BUILD_ENABLE": "on",
            "KUBECTL_BUILD_REGISTRY_SECRET": "docker-registry",
        }
        before = f"echo {shlex.quote(contents)} | " if contents is not None else ""
        file = "-" if contents is not None else str(dockerfile or directory / "Dockerfile")
        words = ["kubectl", "build", "--context", kube_context, "-f", file, "--registry-secret", "docker-registry", *options]
        command = before + shlex.join(words) + " -t $EXPECTED_REF " + shlex.quote(str(directory))
        return logins.kubectl.with_env(**variables).shell(command), repository

    return run


def test_tilt_with_a_dockerfile_keeps_the_image_in_the_builder_and_pushes_nothing(
    logins: Namespace, tilt: Callable[..., tuple[Result, str]], context: Callable[..., Path], registry: Registry
) -> None:
    result, repository = tilt(context(FILES), "--build-arg", "A=b c", "--target", "base", "--pull")

    result.ok()
    assert result.stdout == ""
    (found,) = KBLD_DIGEST.finditer(result.stderr)
    assert stored(logins, f"sha256:{found.group(2)}")["config"]
    assert registry.tags(repository) == []


def test_tilt_with_contents_pipes_the_dockerfile_and_sends_the_context(
    tilt: Callable[..., tuple[Result, str]], context: Callable[..., Path], registry: Registry
) -> None:
    directory = context({"hello": "from the context\n", "Dockerfile": "FROM nothing-here\n"})

    result, repository = tilt(directory, "--push", contents='FROM scratch\nLABEL it="it\'s $HOME"\nCOPY hello /\n')

    result.ok()
    (tag,) = registry.tags(repository)
    assert registry.image(repository, tag).files == {"hello": b"from the context\n"}


def test_tilt_with_extra_tags_secrets_and_cache_uses_them(
    logins: Namespace, tilt: Callable[..., tuple[Result, str]], context: Callable[..., Path], registry: Registry, tmp_path: Path
) -> None:
    extra = logins.repository("extra")
    (tmp_path / "token").write_text("hush")
    directory = context({"Dockerfile": "FROM busybox\nRUN --mount=type=secret,id=token wc -c </run/secrets/token >/length\n"})
    options = ["-t", f"{logins.cluster.registry}/{extra}:one", "-t", f"{logins.cluster.registry}/{extra}:two"]
    options += ["--cache-from", f"{logins.cluster.registry}/{extra}:cache", "--secret", f"id=token,src={tmp_path / 'token'}", "--push"]

    result, repository = tilt(directory, *options)

    result.ok()
    assert registry.tags(extra) == ["one", "two"]
    (tag,) = registry.tags(repository)
    assert registry.image(repository, tag).files["length"] == b"4\n"
    assert registry.manifest(repository, tag).digest == registry.manifest(extra, "one").digest == registry.manifest(extra, "two").digest
