from __future__ import annotations

import pytest

from kubectl_build.cli.buildkit import app
from kubectl_build.cli.main import run_app
from kubectl_build.cli.sharing_work import seconds
from kubectl_build.deadlines import VARIABLE
from kubectl_build.errors import UsageError


@pytest.mark.parametrize(("said", "expected"), [(None, 300.0), ("0", 0.0), ("0s", 0.0), ("90s", 90.0), ("1h30m", 5400.0)])
def test_timeout_is_a_time_and_nothing_means_to_look_once(said: str | None, expected: float) -> None:
    assert seconds(said) == expected


def test_timeout_by_default_is_the_deadline_for_what_becomes_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ready=20m")

    assert seconds(None) == 1200.0


@pytest.mark.parametrize("said", ["soon", "-1s", ""])
def test_timeout_that_is_no_time_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        seconds(said)


@pytest.mark.parametrize("verb", [["rm"], ["use"]])
def test_verb_that_needs_a_name_says_so(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "kubectl buildkit", verb) == 2
    assert "NAME" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["use", "Not_A_Name"], ["rm", "Not_A_Name"]])
def test_name_that_no_builder_has_is_refused_before_the_cluster_is_asked(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "kubectl buildkit", verb) == 2
    assert '"Not_A_Name" is not valid' in capsys.readouterr().err
