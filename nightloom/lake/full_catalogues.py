"""What the newest full catalogue of a source lacks: silver.items -> how many items, and the condition that finds them.

A delivery is all that arrived on one night. An item is absent when its last description is of this source, and older
than all of the newest delivery.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from nightloom.contracts import ITEMS
from nightloom.lake import Lake
from nightloom.literals import sql_text
from nightloom.settings import Source


class Absent(NamedTuple):
    """The available items that a delivery lacks."""

    items: int
    delivered: int
    """Items of the delivery."""
    arrived: date
    where: str
    """SQL of Spark and DataFusion for the absent ones, available or not."""


def absent_items(lake: Lake, source: Source, version: int) -> Absent | None:
    """What the newest full catalogue lacks, by a version of silver.items; None where it lacks nothing."""
    mine = f"source = {sql_text(source.name)}"
    newest = lake.rows(
        ITEMS,
        f"{mine} GROUP BY arrived ORDER BY arrived DESC LIMIT 1",
        ["arrived", "min(updated_at) AS oldest", "count(*) AS n"],
        version,
    ).to_pylist()
    if not newest:
        return None
    where = f"{mine} AND updated_at < TIMESTAMP '{newest[0]['oldest']:%Y-%m-%dT%H:%M:%S.%fZ}'"
    (items,) = lake.rows(ITEMS, f"available AND {where}", ["count(*) AS n"], version)["n"].to_pylist()
    return Absent(items, newest[0]["n"], newest[0]["arrived"], where) if items else None


def is_complete(absent: Absent, source: Source) -> bool:
    """Whether so few items are absent that the delivery passes for the whole catalogue."""
    return absent.items <= source.max_absent * (absent.items + absent.delivered)
