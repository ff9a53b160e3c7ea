"""gold.coverage: shares are what they are made of."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame, true
from nightloom.contracts import COVERAGE
from nightloom.settings import Settings

FRAME = Frame(
    COVERAGE,
    {
        "shares_fit": "abs(share_first * available - items_first) < 1e-4 AND share_first <= share_stored",
    },
)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, [true("shares_fit")])
