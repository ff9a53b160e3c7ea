"""benchmarks/fault_load.py: when faults begin and end, and which replies are between them."""

import asyncio
import time

import pytest

from benchmarks.fault_load import Drive, Reply, _cause


@pytest.mark.parametrize("seconds_to_effect", [0.0, 0.3])
def test_a_fault_that_takes_long_to_take_effect_lasts_as_long_as_a_quick_one(seconds_to_effect: float) -> None:
    begun, effective = asyncio.run(_cause([(0.0, lambda: time.sleep(seconds_to_effect)), (0.2, lambda: None)]))
    assert begun[1] - effective[0] >= 0.2


def test_a_request_that_waits_when_a_fault_begins_is_not_one_from_before_it() -> None:
    quick, waiting, later = (
        Reply("own list", at, seconds, 200, {}) for at, seconds in ((1, 0.1), (1.9, 0.3), (2.2, 0))
    )
    load = Drive([quick, waiting, later], begun=[2.0], moments=[2.1])
    assert load.between(-1, 0) == [quick]
    assert load.between(0, 1) == [later]
