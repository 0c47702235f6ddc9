from __future__ import annotations

import pytest

from kubectl_build.progress.names import StepName, parse_step, with_prefix


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("[2/3] RUN make", StepName(number="2/3", rest="RUN make")),
        ("[ 2/12] RUN make", StepName(number="2/12", rest="RUN make")),
        ("[build 2/3] RUN make", StepName(stage="build", number="2/3", rest="RUN make")),
        ("[linux/arm/v7 build 2/3] RUN make", StepName("linux/arm/v7", "linux/arm/v7", "build", "2/3", "RUN make")),
        ("[linux/amd64->arm/v7 build 2/3] RUN x", StepName("linux/amd64", "linux/arm/v7", "build", "2/3", "RUN x")),
        ("[linux/amd64->windows/amd64 2/3] RUN x", StepName("linux/amd64", "windows/amd64", "", "2/3", "RUN x")),
        ("[internal] load build context", StepName(rest="load build context")),
        ("[linux/amd64 internal] load metadata for x", StepName("linux/amd64", "linux/amd64", rest="load metadata for x")),
        ("[auth] app:pull,push token for reg", StepName(rest="[auth] app:pull,push token for reg")),
        ("exporting to image", StepName(rest="exporting to image")),
        ("[", StepName(rest="[")),
        ("", StepName()),
    ],
)
def test_step_name_is_taken_apart(name: str, expected: StepName) -> None:
    assert parse_step(name) == expected


@pytest.mark.parametrize(
    ("prefix", "name", "expected"),
    [("", "[2/3] RUN", "[2/3] RUN"), ("amd64", "[2/3] RUN", "[amd64 2/3] RUN"), ("amd64", "exporting", "[amd64] exporting")],
)
def test_prefix_is_put_where_buildx_puts_it(prefix: str, name: str, expected: str) -> None:
    assert with_prefix(prefix, name) == expected
