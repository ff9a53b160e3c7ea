"""gold.user_days: what holds of a row stands in the contract's checks."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame
from nightloom.contracts import USER_DAYS
from nightloom.settings import Settings

FRAME = Frame(USER_DAYS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME)
