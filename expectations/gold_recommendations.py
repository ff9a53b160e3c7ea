"""gold.recommendations: lists are ranked, no item twice, at most as long as stored. Seen items: a check of gate 3."""

import great_expectations as gx

from expectations import contract
from expectations.contract import LIST_COLUMNS, Frame, ranked
from nightloom.settings import Settings
from nightloom.tables import RECOMMENDATIONS

FRAME = Frame(RECOMMENDATIONS, LIST_COLUMNS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, ranked(settings))
