"""Source policies from JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_build.buildkit.attrs import build_job, plan_job
from kubectl_build.buildkit.source_policy import parse_source_policy
from kubectl_build.errors import ConfigError
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.request import BuildRequest
from kubectl_build.proto import sourcepolicy_pb2

DENY = '{"version": 1, "rules": [{"action": "DENY", "selector": {"identifier": "docker-image://a.example/*", "match_type": "EXACT"}}]}'


def test_policy_holds_for_planning_and_building() -> None:
    request = BuildRequest(context=LocalContext(Path()), dockerfile=Dockerfile(), source_policy=DENY)

    for job in (plan_job(request, ()), build_job(request, ())):
        assert job.source_policy is not None
        rule = job.source_policy.rules[0]
        assert (rule.action, rule.selector.match_type) == (sourcepolicy_pb2.DENY, sourcepolicy_pb2.EXACT)


def test_no_policy_is_none() -> None:
    assert parse_source_policy("") is None


@pytest.mark.parametrize(
    "text", [DENY.replace("DENY", "FORBID"), DENY.replace("selector", "select"), DENY.replace("EXACT", "exact"), '{"rules": 1}', "{"]
)
def test_policy_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="source policy"):
        parse_source_policy(text)
