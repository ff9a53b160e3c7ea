"""gold.item_stats: a longer window holds at least what a shorter one does, and no more users than interactions."""

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import contract
from expectations.contract import Frame, at_least
from nightloom.settings import Settings
from nightloom.tables import ITEM_STATS

FRAME = Frame(ITEM_STATS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(
        FRAME,
        [
            gxe.ExpectColumnValuesToBeBetween(column="events_1d", min_value=0),
            at_least("events_7d", "events_1d"),
            at_least("events_28d", "events_7d"),
            at_least("events", "events_28d"),
            gxe.ExpectColumnValuesToBeBetween(column="users", min_value=1),
            at_least("events", "users"),
            gxe.ExpectColumnValuesToBeBetween(column="popularity", min_value=0),
            at_least("last_at", "first_at"),
        ],
    )
