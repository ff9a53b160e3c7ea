"""gold.similar_items: lists are ranked, no item twice, at most as long as stored. Gate 3 checks more."""

from great_expectations.expectations.expectation import Expectation

from expectations.conditions import LIST_COLUMNS, ranked_list
from nightloom.settings import Settings

COLUMNS = LIST_COLUMNS


def expectations(settings: Settings) -> list[Expectation]:
    return ranked_list(settings)
