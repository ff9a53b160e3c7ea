"""bronze.users: every record comes from a declared source of users and keeps an id made from its content."""

import great_expectations as gx

from expectations.contract import Frame, bronze
from nightloom.contracts import BRONZE_USERS
from nightloom.settings import Settings

FRAME = Frame(BRONZE_USERS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return bronze(FRAME, "users", settings)
