"""gold.recommendations: lists are ranked, without repeats, at most as long as stored, and hold nothing seen before."""

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import contract
from expectations.contract import LIST_COLUMNS, Frame, not_empty, ranked
from nightloom.settings import Settings
from nightloom.tables import HISTORIES, RECOMMENDATIONS

FRAME = Frame(
    RECOMMENDATIONS,
    {
        **LIST_COLUMNS,
        "seen_count": "CAST(coalesce(cardinality(array_intersect(t.items, b.items)), 0) AS BIGINT)",
    },
    beside=(HISTORIES, "b.night = t.night AND b.user_id = t.user_id"),
)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(
        FRAME,
        [
            *not_empty("user_id", "model_version"),
            *ranked(settings),
            gxe.ExpectColumnValuesToBeBetween(column="seen_count", min_value=0, max_value=0),
        ],
    )
