"""Documents that others wrote: of registries, daemons, credential programs, clusters, users; and archives."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from kubectl_build.builder.buildkitd_config import authority_files, parse_buildkitd_config, read_settings
from kubectl_build.builder.explain import explain_pod
from kubectl_build.builder.spec_yaml import parse_spec
from kubectl_build.builder.state import pod_info
from kubectl_build.buildkit.provenance import _predicate
from kubectl_build.buildkit.response import DESCRIPTOR, decode_response, parse_descriptor
from kubectl_build.cluster.answers import Action, Refusal, error_for
from kubectl_build.cluster.config import resolve
from kubectl_build.cluster.resources import PODS
from kubectl_build.credentials.docker_config import DockerConfigKeychain
from kubectl_build.credentials.entries import parse_entries, parse_object
from kubectl_build.credentials.helper import _read
from kubectl_build.credentials.hosts import find_entry
from kubectl_build.credentials.kube_secret import _entries
from kubectl_build.errors import ConfigError, KubectlBuildError, ProtocolError, RegistryError, UsageError
from kubectl_build.layout.archive import ArchiveReader, members
from kubectl_build.layout.cache import children
from kubectl_build.layout.index import find_entry as find_index_entry
from kubectl_build.layout.index import read_index
from kubectl_build.layout.trees import joined_trees
from kubectl_build.model.digest import MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Descriptor, sha256_digest
from kubectl_build.model.json import parse_json
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.platform import Platform
from kubectl_build.model.tokens import TokenRequest
from kubectl_build.registry.answers import refusal
from kubectl_build.registry.authorization import parse_challenges
from kubectl_build.registry.copy import _references
from kubectl_build.registry.http import Response, retry_after
from kubectl_build.registry.index import Child, merge_index
from kubectl_build.registry.tokens import _read as read_token
from tests.unit.fuzz.effort import bytes_like, documents, nested, texts_like, tried, written

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

_DIGEST = "sha256:" + "a" * 64
_PLATFORM = {"os": "linux", "architecture": "amd64"}
_MANIFEST = {"mediaType": MEDIA_TYPE_MANIFEST, "digest": _DIGEST, "size": 3, "platform": _PLATFORM, "annotations": {"a": "b"}}
_INDEX = {"schemaVersion": 2, "manifests": [_MANIFEST], "annotations": {"x": "y"}}
_IMAGE = {"config": {"digest": _DIGEST, "size": 1}, "layers": [{"digest": _DIGEST, "size": 2}]}


@tried(30)
@given(nested | st.binary(max_size=60))
def test_json_of_any_kind_is_read_or_refused_by_one_error(data: bytes) -> None:
    with suppress(ValueError):
        written(parse_json(data))


@tried(80)
@given(documents(_INDEX, _MANIFEST))
def test_index_of_any_kind_is_merged_or_refused(document: Any) -> None:
    data = written(document)
    child = Child(
        descriptor=Descriptor(media_type=MEDIA_TYPE_INDEX, digest=sha256_digest(data), size=len(data)), raw_descriptor={}, index=data
    )
    with suppress(ProtocolError):
        merge_index([Platform("linux", "amd64")], [child])
    with suppress(RegistryError):
        _references(data, "x")
    with suppress(UsageError):
        children(data, _DIGEST)


@tried(80)
@given(documents(_MANIFEST) | documents(_IMAGE))
def test_descriptor_of_any_kind_is_read_or_refused(document: Any) -> None:
    response = {DESCRIPTOR: base64.b64encode(written(document)).decode(), "other": "x"}
    decode_response(response)
    with suppress(ProtocolError):
        found = parse_descriptor(response)
        assert isinstance(found.size, int)
        assert isinstance(found.annotations, Mapping)


_STATEMENT = {
    "buildDefinition": {
        "externalParameters": {"configSource": {"uri": "u", "digest": {}, "path": "p"}, "request": {"args": {}}},
        "internalParameters": {"buildConfig": {}, "builderPlatform": "linux/amd64"},
        "resolvedDependencies": [{"uri": "u", "digest": {"sha256": "x"}}],
    },
    "runDetails": {"builder": {"id": "b"}, "metadata": {"startedOn": "x", "buildkit_completeness": {"request": True}}},
}


@tried(80)
@given(documents(_STATEMENT), st.booleans())
def test_provenance_of_any_kind_is_converted_or_refused(document: Any, full: bool) -> None:
    with suppress(ProtocolError):
        assert isinstance(_predicate(written(document), "https://slsa.dev/provenance/v1", full=full), dict)


def _response(body: bytes, **headers: str) -> Response:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status=401, headers=named, challenges=(), body=body, url=URL("https://registry.example.com/v2/"))


_REFUSAL = {"errors": [{"code": "DENIED", "message": "no", "detail": {}}], "error": "x", "details": "y"}


@tried(80)
@given(documents(_REFUSAL), texts_like("100;w=21600", "3", "Wed, 21 Oct 2015 07:28:00 GMT") | st.just("9" * 4500 + ";w=" + "9" * 4500))
def test_refusal_of_any_kind_is_told_in_words(document: Any, header: str) -> None:
    response = _response(written(document), Retry_After=header, RateLimit_Limit=header)
    for status in (401, 403, 404, 429, 500):
        object.__setattr__(response, "status", status)
        assert refusal(response, "registry.example.com", "name", "pull", logged_in=False).message.isprintable()
    wait = retry_after(response.headers)
    assert wait is None or wait >= 0


@tried(80)
@given(documents({"token": "t", "expires_in": 60, "issued_at": "2026-01-01T00:00:00Z"}) | st.just({"token": "t", "expires_in": 1 << 70}))
def test_token_of_any_kind_is_read_or_refused(document: Any) -> None:
    request = TokenRequest(host="registry.example.com", realm="https://x", service="s", scopes=())
    with suppress(RegistryError):
        token = read_token(_response(written(document)), request)
        token.value.encode("ascii")
        assert 0 < token.expires_in < 1 << 62
        assert 0 <= token.issued_at < 1 << 62


@tried(80)
@given(
    texts_like(
        'Bearer realm="https://x/y",service="s",scope="repository:a/b:pull", Basic realm=x', 'Bearer realm="\\"' + " a" * 5000, ",\t" * 5000
    )
)
def test_challenges_of_any_kind_are_read(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert challenge.scheme == challenge.scheme.lower()


_CONFIG = {
    "auths": {
        "registry.example.com": {"auth": base64.b64encode(b"u:p").decode()},
        "https://x/v1/": {"identitytoken": "t"},
        "*.y": {"username": "u"},
    },
    "credHelpers": {"z.example.com": "no-such-helper"},
    "credsStore": "",
}


@tried(80)
@given(documents(_CONFIG), texts_like("registry.example.com", "a.y:443", "docker.io"))
async def test_docker_config_of_any_kind_gives_a_login_or_is_refused(document: Any, host: str) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_bytes(written(document))
        keychain = DockerConfigKeychain({"DOCKER_CONFIG": folder, "DOCKER_AUTH_CONFIG": written(document).decode(), "PATH": folder})
        with suppress(ConfigError):
            found = await keychain.resolve(host)
            if found is not None:
                (found.username + found.secret).encode()


@tried(80)
@given(
    documents({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": base64.b64encode(written(_CONFIG)).decode()}}),
    documents(_CONFIG),
)
def test_registry_secret_of_any_kind_gives_logins_or_is_refused(secret: Any, config: Any) -> None:
    inner = {"type": "kubernetes.io/dockercfg", "data": {".dockercfg": base64.b64encode(written(config)).decode()}}
    for document in (secret, inner):
        with suppress(ConfigError):
            if isinstance(document, dict):
                find_entry(_entries(document, "where"), "registry.example.com", "name")
    with suppress(ConfigError):
        parse_entries(config, "where")


@tried(60)
@given(documents({"Username": "u", "Secret": "s"}).map(written) | nested | st.binary(max_size=40))
def test_helper_that_answers_anything_gives_a_login_or_is_refused(answer: bytes) -> None:
    with suppress(ConfigError):
        found = _read("docker-credential-x", "host", answer)
        if found is not None:
            (found.username + found.secret).encode()
    with suppress(ConfigError):
        parse_object(answer, "where")


_EXEC = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "command": "x",
    "args": ["a"],
    "env": [{"name": "n", "value": "v"}],
    "interactiveMode": "Never",
}
_KUBECONFIG: dict[str, Any] = {
    "current-context": "c",
    "clusters": [
        {"name": "k", "cluster": {"server": "https://example.com:6443", "certificate-authority-data": "eA==", "tls-server-name": "x"}}
    ],
    "users": [
        {
            "name": "u",
            "user": {
                "token": "t",
                "as": "a",
                "as-groups": ["g"],
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "x",
                    "args": ["a"],
                    "env": [{"name": "n", "value": "v"}],
                    "interactiveMode": "Never",
                },
            },
        }
    ],
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
}


def _yaml(document: Any) -> str:
    """JSON is YAML, and quicker to write."""
    return written(document).decode()


_DEEP = st.sampled_from(
    [
        "[" * 5000,
        "{a: " * 5000,
        "&a [*a]",
        "a: &a [*a, *a]",
        "- " * 1500,
        "x: !!python/object:os.system a",
        "\x00",
        "a: 2026-99-99",
        "? [a]\n: b",
    ]
)


@tried(60)
@given(documents(_KUBECONFIG).map(_yaml) | texts_like(_yaml(_KUBECONFIG)) | _DEEP)
def test_kubeconfig_of_any_kind_names_a_cluster_or_is_refused(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "config")
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with suppress(KubectlBuildError):
            resolve(KubeFlags(), environ={"KUBECONFIG": str(path), "HOME": folder}, service_account=Path(folder, "none"))


_SPEC = {
    "image": "moby/buildkit:v0.31.2",
    "security": "rootless",
    "platforms": ["linux/amd64"],
    "resources": {"requests": {"cpu": "1"}},
    "env": {"A": "b"},
    "buildkitdConfig": "debug = true\n",
    "registries": {"docker.io": {"mirrors": ["m"], "http": True, "insecure": False, "ca": "x"}},
}


@tried(60)
@given(documents(_SPEC).map(_yaml) | texts_like(_yaml(_SPEC)))
def test_builder_yaml_of_any_kind_is_a_spec_or_is_refused(text: str) -> None:
    for recorded in (False, True):
        with suppress(KubectlBuildError):
            parse_spec(text, source="where", recorded=recorded)


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 2000, "- " * 2000, "image: &a {b: *a}", "env: &a [*a]", "a: 2026-99-99"])
def test_builder_yaml_that_is_deep_or_goes_round_is_refused(text: str) -> None:
    # Not among the generated ones: hypothesis raises the limit of recursion, and Python's parser is slow then.
    with pytest.raises(ConfigError):
        parse_spec(text, source="where")


_TOML = """
[registry."docker.io"]
mirrors = ["m"]
http = true
ca = ["/x"]
[[registry."docker.io".keypair]]
key = "k"
cert = "c"
[worker.oci]
gc = true
"""
_ODD_TOML = ["a = " + "[" * 5000, "a.b." * 3000 + "c = 1", "a = 1979-99-99", "a = 9e9999", "x = {" * 3000, '"\\ud800" = 1']


@tried(60)
@given(
    texts_like(_TOML)
    | st.sampled_from(["a = " + "[" * 5000, "a.b." * 3000 + "c = 1", "a = 1979-99-99", "a = 9e9999", "x = {" * 3000, '"\\ud800" = 1'])
)
def test_buildkitd_toml_of_any_kind_is_settings_or_is_refused(text: str) -> None:
    def read(name: str) -> str:
        raise ConfigError(f"{name} is not there")

    with suppress(KubectlBuildError):
        parse_buildkitd_config(text, source="where", read=read)
    with suppress(KubectlBuildError):
        read_settings(text, read)
    with suppress(KubectlBuildError):
        authority_files(text)


_POD = {
    "metadata": {
        "name": "p",
        "namespace": "n",
        "labels": {"app.kubernetes.io/instance": "b"},
        "annotations": {},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {"nodeName": "x", "containers": [{"name": "buildkitd", "image": "i"}]},
    "status": {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}],
        "containerStatuses": [{"name": "buildkitd", "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}, "restartCount": 1}],
    },
}


@tried(60)
@given(
    documents({"kind": "Status", "message": "m", "reason": "NotFound", "details": {"kind": "namespaces", "name": "x"}}).map(written)
    | nested
)
def test_refusal_of_an_api_server_of_any_kind_is_told(body: bytes) -> None:
    action = Action(verb="get", resource=PODS, name="p", namespace="n")
    for status in (400, 401, 403, 404, 409, 410, 422, 500):
        assert error_for(Refusal(status=status, body=body), action, server="s", user="u").message


def test_pod_as_api_servers_have_it_is_explained() -> None:
    # What an API server says of a pod has passed its schema; no more is asked of its readers.
    assert pod_info(_POD).name == "p"
    assert explain_pod(_POD)


def _tar(*entries: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, pax: Mapping[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data) if kind == tarfile.REGTYPE else 0, kind
            info.pax_headers = dict(pax or {})
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


_ARCHIVE = _tar(("blobs/sha256/" + "a" * 64, b"x"), ("index.json", written(_INDEX)), ("oci-layout", b"{}"))
_TREES = _tar(("linux_amd64", b""), kind=tarfile.DIRTYPE) + _tar(("linux_amd64/f", b"x"))
_TARS = [
    _ARCHIVE,
    _TREES,
    _tar(("f", b"x" * 600), pax={"size": "-1024"}),
    _tar(("f", b"x"), pax={"size": "9" * 40}),
    _tar(("f", b"x"), pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "-1", "GNU.sparse.name": "g"}),
    _tar(("f", b"x"), pax={"GNU.sparse.map": "1,2,3", "GNU.sparse.size": "x"}),
    _tar(("f", b"x"), pax={"hdrcharset": "BINARY", "path": "\u00e4"}),
    _tar(("x" * 400, b"")),
    bytes(1024),
    b"",
]


def _walk(path: Path) -> None:
    for _ in members(path):
        pass


def _read_all(path: Path) -> None:
    reader = ArchiveReader(path)
    for entry in reader.entries:
        reader.document(entry["digest"])


_READERS: dict[str, Callable[[Path], Iterable[object] | None]] = {
    "members": _walk,
    "archive": _read_all,
    "trees": lambda path: list(joined_trees([path])),
}


@pytest.mark.parametrize("read", _READERS.values(), ids=_READERS.keys())
@tried(60)
@given(data=bytes_like(*_TARS) | st.sampled_from(range(len(_TARS))).map(_TARS.__getitem__))
def test_archive_of_any_bytes_is_read_or_refused(read: Callable[[Path], object], data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.tar")
        path.write_bytes(data)
        with suppress(ProtocolError, UsageError):
            read(path)


@tried(60)
@given(documents(_INDEX).map(written) | nested)
def test_layout_of_any_kind_has_entries_or_is_refused(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "index.json").write_bytes(data)
        with suppress(UsageError):
            find_index_entry(read_index(Path(folder)), "latest")
