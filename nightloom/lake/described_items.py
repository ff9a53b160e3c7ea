"""silver.items and gold.item_stats of a night -> DuckDB's table `described`, and the slate rules compiled over it.

`described` has a row per item: item_id, title, categories, available, updated_at; events, events_1d, events_7d,
events_28d, popularity (0 without any), first_at, last_at; night (the date); and every declared attribute by its name,
with the type of its field where it is a field as it comes, else text. A value that cannot be read is NULL.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import duckdb

from nightloom.contracts import ITEM_STATS, ITEMS
from nightloom.lake import Lake
from nightloom.lake.duck import spilling_duckdb
from nightloom.literals import sql_name, sql_text
from nightloom.settings import Settings, place_of
from nightloom.slate.described import COLUMNS, described_columns

if TYPE_CHECKING:
    from nightloom.slate.plan import Plan

NUMBERS = ("events", "events_1d", "events_7d", "events_28d", "popularity")
OF_ITEM = ("item_id", "title", "categories", "available", "updated_at")


def compile_slate(lake: Lake, settings: Settings, night: date, items: int, stats: int | None) -> Plan:
    """Compile the slate rules over these versions of the two tables. Raises SettingsError, with the line."""
    from nightloom.slate.compile import compile_rules  # numba: only where there are rules

    with spilling_duckdb(settings.place("scratch")) as db:
        describe_items(db, lake, settings, night, items, stats)
        return compile_rules(db, settings.slate, night, partial(place_of, settings))


def describe_items(
    db: duckdb.DuckDBPyConnection, lake: Lake, settings: Settings, night: date, items: int, stats: int | None
) -> None:
    """Create the table `described`, by item id, from these versions of the two tables."""
    db.register("_items", lake.stream(ITEMS, "true", (*OF_ITEM, "attributes"), items))
    columns = ("item_id", *NUMBERS, "first_at", "last_at")
    if stats is None:
        empty = [
            f"CAST(NULL AS {'TIMESTAMPTZ' if name.endswith('at') else 'DOUBLE'}) AS {name}" for name in columns[1:]
        ]
        db.execute(f"CREATE TEMP VIEW _stats AS SELECT '' AS item_id, {', '.join(empty)}")
    else:
        db.register("_stats", lake.stream(ITEM_STATS, f"night = DATE '{night}'", columns, stats))
    declared = settings.attributes("items")
    attributes = [
        f", TRY_CAST(attributes[{sql_text(name)}] AS {type}) AS {sql_name(name)}"
        for name, type in described_columns(declared).items()
        if name not in COLUMNS
    ]
    db.execute(
        f"""CREATE TEMP TABLE described AS SELECT {", ".join(OF_ITEM)}, DATE '{night}' AS night, first_at, last_at,
        {", ".join(f"coalesce({name}, 0) AS {name}" for name in NUMBERS)}{"".join(attributes)}
        FROM _items LEFT JOIN _stats USING (item_id) ORDER BY item_id"""
    )
