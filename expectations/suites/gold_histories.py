"""gold.histories: interactions are in order of time, and no weight is below 0."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from nightloom.settings import Settings

CONDITIONS = {"oldest_first": "at = array_sort(at)"}
COLUMNS = {"lowest_weight": "array_min(weights)"}


def expectations(settings: Settings) -> list[Expectation]:
    return [gxe.ExpectColumnValuesToBeBetween(column="lowest_weight", min_value=0)]
