"""Where the cache of a build over several pools lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.buildkit.attrs import build_job
from kubectl_build.buildkit.caches import cache_exports, cache_imports, cache_imports_attr
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.platform import parse_platforms
from kubectl_build.model.request import BuildRequest, CacheEntry

POOLS = ("amd64", "arm64")


def request(*, imports: tuple[CacheEntry, ...] = (), exports: tuple[CacheEntry, ...] = (), **build_args: str) -> BuildRequest:
    return BuildRequest(
        context=LocalContext(Path()),
        dockerfile=Dockerfile(),
        platforms=parse_platforms(["linux/amd64,linux/arm64"]),
        cache_from=imports,
        cache_to=exports,
        build_args=build_args,
    )


def entry(type: str, **attrs: str) -> CacheEntry:
    return CacheEntry(type=type, attrs=attrs)


@pytest.mark.parametrize(
    ("said", "own"),
    [
        (entry("registry", ref="r.example/a:c", mode="max"), entry("registry", ref="r.example/a:c-arm64", mode="max")),
        (entry("registry", ref="r.example:5000/a"), entry("registry", ref="r.example:5000/a:latest-arm64")),
        (entry("registry", ref="localhost:5000/team/a:c"), entry("registry", ref="localhost:5000/team/a:c-arm64")),
        (entry("registry", ref="a"), entry("registry", ref="docker.io/library/a:latest-arm64")),
        (entry("registry", ref=f"a:{'t' * 128}"), entry("registry", ref=f"docker.io/library/a:{'t' * 122}-arm64")),
        (entry("registry", ref="r.example/A"), entry("registry", ref="r.example/A")),
        (entry("local", dest="/c"), entry("local", dest="/c", tag="latest-arm64")),
        (entry("local", dest="/c", tag="t", reset="true"), entry("local", dest="/c", tag="t-arm64", reset="true")),
        (entry("gha"), entry("gha", scope="buildkit-arm64")),
        (entry("gha", scope="s", token="x"), entry("gha", scope="s-arm64", token="x")),
        (entry("s3", bucket="b"), entry("s3", bucket="b", name="buildkit-arm64")),
        (entry("s3", bucket="b", name="main;new"), entry("s3", bucket="b", name="main-arm64;new-arm64")),
        (entry("azblob", account_url="u", name="n"), entry("azblob", account_url="u", name="n-arm64")),
        (entry("inline"), entry("inline")),
    ],
    ids=lambda value: repr(sorted(value.attrs.items()))[:40],
)
def test_exports_of_one_pool_among_several_have_their_own_place(said: CacheEntry, own: CacheEntry) -> None:
    assert cache_exports(request(exports=(said,)), "arm64", POOLS) == (own,)
    assert cache_exports(request(exports=(said,)), "arm64", ("arm64",)) == (said,)


def test_imports_of_several_pools_are_the_users_own_and_every_pools_place() -> None:
    build = request(imports=(entry("registry", ref="r.example/a:c"), entry("registry", ref="r.example/a:c-amd64")))

    assert [e.attrs["ref"] for e in cache_imports(build, POOLS)] == [
        "r.example/a:c",
        "r.example/a:c-amd64",
        "r.example/a:c-arm64",
        "r.example/a:c-amd64-amd64",
        "r.example/a:c-amd64-arm64",
    ]
    assert cache_imports(build, ("amd64",)) == build.cache_from


def test_imports_by_digest_have_one_place() -> None:
    digest = "sha256:" + "0" * 64
    said = (entry("registry", ref=f"r.example/a:c@{digest}"), entry("local", src="/c", digest=digest))

    assert cache_imports(request(imports=said), POOLS) == said


@given(st.sampled_from(["registry", "local", "gha", "s3", "azblob"]), st.from_regex(r"[a-z0-9_][a-zA-Z0-9_.-]{0,60}", fullmatch=True))
def test_exports_of_two_pools_never_meet_and_are_imported(type: str, name: str) -> None:
    key = {"registry": "ref", "local": "tag", "gha": "scope"}.get(type, "name")
    said = entry(type, **{key: f"r.example/a:{name}" if type == "registry" else name})
    build = request(imports=(said,), exports=(said,))

    first, second = (cache_exports(build, pool, POOLS) for pool in POOLS)

    assert first != second
    assert said not in (*first, *second)
    assert {(e.type, e.attrs[key]) for e in (*first, *second)} <= {(e.type, e.attrs[key]) for e in cache_imports(build, POOLS)}


@pytest.mark.parametrize(("value", "count"), [("1", 1), ("true", 1), ("0", 0), ("", 0), ("yes", 0)])
def test_inline_cache_by_build_argument_is_one_export(value: str, count: int) -> None:
    assert [e.type for e in cache_exports(request(BUILDKIT_INLINE_CACHE=value))] == ["inline"] * count
    assert cache_exports(request(exports=(entry("inline"),), BUILDKIT_INLINE_CACHE=value)) == (entry("inline"),)


def test_imports_are_told_to_the_frontend_as_json() -> None:
    found = cache_imports_attr([entry("s3", region="é", bucket="b"), entry("gha")])

    assert json.loads(found) == [{"Type": "s3", "Attrs": {"bucket": "b", "region": "é"}}, {"Type": "gha"}]


def test_job_of_one_pool_among_several_imports_what_the_frontend_is_told() -> None:
    build = request(imports=(entry("registry", ref="r.example/a:c"),), exports=(entry("registry", ref="r.example/a:c"),))

    job = build_job(build, build.platforms[:1], pool="amd64", pools=POOLS)

    assert [e["Attrs"]["ref"] for e in json.loads(job.attrs["cache-imports"])] == [e.attrs["ref"] for e in job.cache_imports]
    assert [e.attrs["ref"] for e in job.cache_exports] == ["r.example/a:c-amd64"]
    assert job.attrs["multi-platform"] == "true"
