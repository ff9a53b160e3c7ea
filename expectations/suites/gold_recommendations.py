"""gold.recommendations: lists are ranked, no item twice, at most as long as stored. Gate 3 checks for seen items.

Slate rules may reorder a list against its scores. A list may be empty: its user has seen everything.
"""

from great_expectations.expectations.expectation import Expectation

from expectations.conditions import LIST_COLUMNS, ranked_list
from nightloom.settings import Settings

COLUMNS = LIST_COLUMNS


def expectations(settings: Settings) -> list[Expectation]:
    return ranked_list(settings, by_score=settings.slate.by_score, shortest=0)
