"""gold.histories: lists of one length, as the contract says, oldest first, no weight below 0."""

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import contract
from expectations.contract import Frame, true
from nightloom.contracts import HISTORIES
from nightloom.settings import Settings

FRAME = Frame(HISTORIES, {"oldest_first": "at = array_sort(at)", "lowest_weight": "array_min(weights)"})


def suite(settings: Settings) -> gx.ExpectationSuite:
    no_minus = gxe.ExpectColumnValuesToBeBetween(column="lowest_weight", min_value=0)
    return contract.suite(FRAME, [true("oldest_first"), no_minus])
