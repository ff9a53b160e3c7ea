"""silver.users: every user has an id, as the contract's checks say."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame
from nightloom.contracts import USERS
from nightloom.settings import Settings

FRAME = Frame(USERS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME)
