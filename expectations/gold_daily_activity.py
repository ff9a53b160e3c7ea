"""gold.daily_activity: the signals' interactions add up to all of them."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame, true
from nightloom.contracts import DAILY_ACTIVITY
from nightloom.settings import Settings

FRAME = Frame(
    DAILY_ACTIVITY,
    {
        "signals_add_up": "array_sum(map_values(by_event)) = events",
    },
)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, [true("signals_add_up")])
