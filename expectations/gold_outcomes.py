"""gold.outcomes: there is a row for everybody on each day, and means fit their counts."""

import great_expectations as gx

from expectations import contract
from expectations.contract import Frame, true
from nightloom.contracts import OUTCOMES
from nightloom.settings import Settings

FRAME = Frame(
    OUTCOMES,
    {
        "mean_where_somebody_came": "(recall IS NULL) = (came = 0)",
        "of_the_night_before": "lists_night = day - INTERVAL '1 day'",
    },
)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(FRAME, [true("mean_where_somebody_came"), true("of_the_night_before")])
