"""gold.quality_trend: every row that came is accounted for."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame, true
from nightloom.contracts import QUALITY_TREND
from nightloom.settings import Settings

FRAME = Frame(
    QUALITY_TREND,
    {
        "all_accounted_for": "rows_in = good + quarantined + set_aside",
    },
)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, [true("all_accounted_for")])
