"""gold.popular: there is a list for everybody, and every list is ranked, without repeats, at most as long as stored."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from expectations.conditions import LIST_COLUMNS, ranked_list
from nightloom.settings import Settings

COLUMNS = LIST_COLUMNS


def expectations(settings: Settings) -> list[Expectation]:
    everybody = gxe.ExpectColumnDistinctValuesToContainSet(column="segment", value_set=["all"])
    return [everybody, *ranked_list(settings)]
