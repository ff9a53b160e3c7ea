"""silver.users: every user has an id."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame, not_empty
from nightloom.settings import Settings
from nightloom.tables import USERS

FRAME = Frame(USERS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, not_empty("user_id"))
