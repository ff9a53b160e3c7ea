"""bronze.items: every record comes from a declared source of items and keeps an id made from its content."""

import great_expectations as gx

from expectations.contract import Frame, bronze
from nightloom.contracts import BRONZE_ITEMS
from nightloom.settings import Settings

FRAME = Frame(BRONZE_ITEMS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return bronze(FRAME, "items", settings)
