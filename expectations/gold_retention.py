"""gold.retention: a share is what it is made of."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame, true
from nightloom.contracts import RETENTION
from nightloom.settings import Settings

FRAME = Frame(
    RETENTION,
    {
        "share_is_of_the_cohort": "abs(share - CAST(users AS DOUBLE) / cohort_users) < 1e-8",
    },
)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, [true("share_is_of_the_cohort")])
