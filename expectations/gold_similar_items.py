"""gold.similar_items: lists are ranked, no item twice, at most as long as stored. More is asked by gate 3."""

import great_expectations as gx

from expectations import contract
from expectations.contract import LIST_COLUMNS, Frame, ranked
from nightloom.contracts import SIMILAR_ITEMS
from nightloom.settings import Settings

FRAME = Frame(SIMILAR_ITEMS, LIST_COLUMNS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, ranked(settings))
