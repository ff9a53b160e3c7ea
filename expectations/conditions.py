"""Conditions that each row meets, as expectations; those of rows with a ranked list, `items` and `scores`, too."""

from collections.abc import Mapping, Sequence

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity

from nightloom.settings import Settings


def holds(column: str) -> Expectation:
    """A boolean column is true in every row."""
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True])


def declared_values(column: str, names: Sequence[str]) -> Expectation:
    """Every row has one of the names that nightloom.toml declares; a failure warns, since names change."""
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(names), severity=FailureSeverity.WARNING)


LIST_COLUMNS: Mapping[str, str] = {
    "item_count": "CAST(cardinality(items) AS BIGINT)",
    "no_item_twice": "cardinality(array_distinct(items)) = cardinality(items)",
    "best_first": "scores = array_sort(scores, 'DESC')",
}
"""Columns that ranked_list() needs."""


def ranked_list(settings: Settings, *, by_score: bool = True, shortest: int = 1) -> list[Expectation]:
    """`shortest` to slate.stored items, none of them twice, and best first where the list is in order of scores."""
    return [
        gxe.ExpectColumnValuesToBeBetween(column="item_count", min_value=shortest, max_value=settings.slate.stored),
        holds("no_item_twice"),
        *([holds("best_first")] if by_score else []),
    ]
