"""Two clients at once where there is no builder yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.kubectl import Namespace


def test_two_first_builds_at_once_make_one_builder_and_both_succeed(
    make_namespace: Callable[[str], Namespace], context: Callable[..., Path]
) -> None:
    namespace = make_namespace("together")
    directories = [context({"Dockerfile": f"FROM busybox\nRUN echo {n} >/n\n"}, f"ctx{n}") for n in range(2)]

    running = [namespace.kubectl.start("build", directory, "--progress=plain") for directory in directories]
    results = [each.wait(90) for each in running]

    for result in results:
        result.ok()
    assert namespace.stateful_sets() == {"buildkit-amd64"}
    assert {name for name in namespace.objects() if name.startswith("Pod/")} == {"Pod/buildkit-amd64-0"}
    assert len(namespace.history("buildkit-amd64-0")) == 2
