"""gold.popular: there is a list for everybody, and every list is ranked, without repeats, at most as long as stored."""

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import contract
from expectations.contract import LIST_COLUMNS, Frame, ranked
from nightloom.contracts import POPULAR
from nightloom.settings import Settings

FRAME = Frame(POPULAR, LIST_COLUMNS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    everybody = gxe.ExpectColumnDistinctValuesToContainSet(column="segment", value_set=["all"])
    return contract.suite(FRAME, [everybody, *ranked(settings)])
