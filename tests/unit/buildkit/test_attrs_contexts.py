"""How the frontend is told where contexts are."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_build.buildkit.attrs import build_job, entitlements, frontend, frontend_attrs, plan_job
from kubectl_build.errors import UsageError
from kubectl_build.model.inputs import ArchiveContext, Context, Dockerfile, LayoutContext, LocalContext, NamedContext, RemoteContext
from kubectl_build.model.request import BuildRequest, CacheEntry, Output, OutputType

CONTEXTS = "moby.buildkit.frontend.contexts+forward"
QUERY = "moby.buildkit.frontend.gitquerystring"


def request(context: Context, dockerfile: Dockerfile | None = None, /, **named: NamedContext) -> BuildRequest:
    return BuildRequest(context=context, dockerfile=dockerfile or Dockerfile(), named_contexts=named)


@pytest.mark.parametrize(
    ("url", "queried"),
    [
        ("https://git.example/a.git", False),
        ("https://git.example/a.git?ref=v1", True),
        ("https://git.example/a.git?ref=v1#x", True),
        ("https://git.example/a.git#x?ref=v1", False),
        ("https://git.example/a.git?", False),
        ("https://git.example/a.git?flag", True),
        ("SSH://git@git.example/a.git?ref=v1", True),
        ("git://git.example/a.git?ref=v1", True),
        ("git@git.example:a.git?ref=v1", True),
        ("git@git.example:a.git#main", False),
        ("git@git.example:a.git#x?ref=v1", False),
        ("ftp://git.example/a?ref=v1", False),
        ("github.com/a/b?ref=v1", False),
    ],
)
def test_remote_context_asks_for_queries_where_it_has_one(url: str, queried: bool) -> None:
    attrs = frontend_attrs(request(RemoteContext(url)), ())

    assert attrs["context"] == url
    assert attrs.get("frontend.caps") == (QUERY if queried else None)


def test_local_context_is_not_mentioned() -> None:
    assert frontend_attrs(request(LocalContext(Path("x"))), ()) == {"filename": "Dockerfile"}


def test_archive_with_a_dockerfile_of_its_own_place_is_an_upload() -> None:
    attrs = frontend_attrs(request(ArchiveContext(Path("x"), "abc"), Dockerfile(name="D", directory=Path("d"), separate=True)), ())

    assert attrs == {"filename": "D", "context": "http://buildkit-session/abc", "dockerfilekey": "dockerfile"}


def test_named_contexts_are_told_by_kind_with_their_shared_keys() -> None:
    build = request(
        LocalContext(Path()),
        context=LocalContext(Path("a")),
        data=LocalContext(Path("b")),
        src=RemoteContext("https://git.example/a.git?ref=v1"),
        image=RemoteContext("docker-image://alpine?x=1"),
        base=LayoutContext(Path("l"), "sha256:1", "id"),
    )

    assert frontend_attrs(build, (), shared_keys={"context": "k1", "data": "k2"}) == {
        "filename": "Dockerfile",
        "frontend.caps": f"{CONTEXTS},{QUERY}+forward",
        "context:context": "local:_context",
        "sharedkey:localdir:context": "k1",
        "context:data": "local:data",
        "sharedkey:localdir:data": "k2",
        "context:src": "https://git.example/a.git?ref=v1",
        "context:image": "docker-image://alpine?x=1",
        "context:base": "oci-layout://id@sha256:1",
    }


def test_syntax_argument_names_the_frontend_image_and_its_words() -> None:
    build = BuildRequest(context=LocalContext(Path()), dockerfile=Dockerfile(), build_args={"BUILDKIT_SYNTAX": " a/b:1 --x y "})

    assert frontend(build) == "gateway.v0"
    attrs = frontend_attrs(build, ())
    assert (attrs["source"], attrs["cmdline"]) == ("a/b:1", " a/b:1 --x y ")


def test_syntax_argument_that_is_empty_is_refused() -> None:
    build = BuildRequest(context=LocalContext(Path()), dockerfile=Dockerfile(), build_args={"BUILDKIT_SYNTAX": " "})

    with pytest.raises(UsageError, match="BUILDKIT_SYNTAX is empty"):
        frontend_attrs(build, ())


def test_host_network_is_allowed_by_asking_for_it() -> None:
    build = BuildRequest(context=LocalContext(Path()), dockerfile=Dockerfile(), network="host", entitlements=("network.host", "device"))

    assert entitlements(build) == ("network.host", "device")
    assert frontend_attrs(build, ())["force-network-mode"] == "host"


def test_plan_leaves_out_what_only_a_build_is_for() -> None:
    build = BuildRequest(
        context=LocalContext(Path()),
        dockerfile=Dockerfile(),
        attests={"sbom": "type=sbom"},
        cache_from=(CacheEntry(type="gha"),),
        cache_to=(CacheEntry(type="inline"),),
        outputs=(Output(type=OutputType.LOCAL, dest="o"),),
        network="host",
    )

    job = plan_job(build, ())

    assert job.internal
    assert [job.exporters, job.cache_imports, job.cache_exports] == [(), (), ()]
    assert job.entitlements == ("network.host",)
    assert job.attrs == {"filename": "Dockerfile", "force-network-mode": "host"}
    assert "attest:sbom" in build_job(build, ()).attrs
