"""gold.item_stats: what holds of a row stands in the contract's checks."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame
from nightloom.contracts import ITEM_STATS
from nightloom.settings import Settings

FRAME = Frame(ITEM_STATS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME)
