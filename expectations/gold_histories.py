"""gold.histories: four lists of one length, oldest first; nobody without an interaction has a row."""

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import contract
from expectations.contract import Frame, same, true
from nightloom.settings import Settings
from nightloom.tables import HISTORIES

FRAME = Frame(
    HISTORIES,
    {
        "item_count": "CAST(cardinality(t.items) AS BIGINT)",
        "weight_count": "CAST(cardinality(t.weights) AS BIGINT)",
        "time_count": "CAST(cardinality(t.at) AS BIGINT)",
        "event_id_count": "CAST(cardinality(t.event_ids) AS BIGINT)",
        "oldest_first": "t.at = array_sort(t.at)",
        "lowest_weight": "array_min(t.weights)",
    },
)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return contract.suite(
        FRAME,
        [
            gxe.ExpectColumnValuesToBeBetween(column="item_count", min_value=1),
            *same("item_count", "weight_count", "time_count", "event_id_count"),
            true("oldest_first"),
            gxe.ExpectColumnValuesToBeBetween(column="lowest_weight", min_value=0),
        ],
    )
