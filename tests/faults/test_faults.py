"""One fault of each class, of those that take little time; `make faults` runs all."""

from __future__ import annotations

import pytest

from tests.faults.bench import Bench
from tests.faults.fault import Fault
from tests.faults.matrix import FAULTS

_SAMPLES = [fault for fault in FAULTS if fault.class_sample]


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", _SAMPLES, ids=lambda fault: fault.name)
def test_fault_is_survived_or_told_and_leaves_nothing(bench: Bench, fault: Fault) -> None:
    seen = fault.run(bench)
    assert seen.outcome
    assert seen.seconds >= 0


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
