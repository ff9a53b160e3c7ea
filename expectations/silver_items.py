"""silver.items: every item has an id, a title to show, and categories without gaps."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame, true
from nightloom.contracts import ITEMS
from nightloom.settings import Settings

FRAME = Frame(ITEMS, {"categories_have_names": "array_position(t.categories, NULL) IS NULL"})


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, [true("categories_have_names")])
