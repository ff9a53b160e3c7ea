"""The table `described` (one row per item of a night) -> what the compilation of a rule asks of the items.

Conditions are DuckDB's SQL over its columns. What cannot be computed for an item, the item does not meet.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from nightloom.errors import SettingsError
from nightloom.literals import sql_name
from nightloom.section import suggest_key
from nightloom.slate.item_values import ItemValues

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from nightloom.slate.arrays import Bools

CATEGORY = "category"
TEXT = "'((?:[^']|'')*)'"
"""A text in SQL, without its quotes."""
CATEGORY_NAMED = re.compile(rf"{TEXT}\s+in\s+categories|list_contains\(\s*categories\s*,\s*{TEXT}", re.IGNORECASE)


COLUMNS = {
    "item_id": "VARCHAR", "title": "VARCHAR", "categories": "VARCHAR[]", "available": "BOOLEAN",
    "updated_at": "TIMESTAMPTZ", "night": "DATE", "first_at": "TIMESTAMPTZ", "last_at": "TIMESTAMPTZ",
    "events": "BIGINT", "events_1d": "BIGINT", "events_7d": "BIGINT", "events_28d": "BIGINT", "popularity": "DOUBLE",
}  # fmt: skip
"""Column of `described` -> its type in DuckDB, without attributes."""
NUMBERS_AND_TIMES = re.compile(
    r"tinyint|smallint|short|int|integer|bigint|long|float|real|double|(?:decimal|dec|numeric)\b.*|boolean|date|timestamp",
    re.IGNORECASE,
)
"""Spark's types that DuckDB knows by the same name; an attribute of any other type is a text."""


def described_columns(attributes: Mapping[str, str]) -> dict[str, str]:
    """Column of `described` -> its type in DuckDB. `attributes` are name -> Spark's type; a column's name wins."""
    added = {name: type for name, type in attributes.items() if name.lower() not in COLUMNS}
    return COLUMNS | {name: type if NUMBERS_AND_TIMES.fullmatch(type) else "VARCHAR" for name, type in added.items()}


def condition_problem(db: duckdb.DuckDBPyConnection, when: str) -> str | None:
    """What is wrong with a condition over `described`; None where DuckDB understands it."""
    import duckdb

    try:
        types = db.sql(f"SELECT ({when}\n) AS met FROM described LIMIT 0").types
    except duckdb.Error as error:
        words = " ".join(str(error).split("\n\n")[0].split())
        return f"{words}; columns of an item are {', '.join(db.table('described').columns)}"
    if [str(type) for type in types] != ["BOOLEAN"]:
        return f"'{when}' is {', '.join(map(str, types))}; expected a condition, true or false for each item"
    return None


def condition(when: str) -> str:
    """SQL for whether an item meets a condition; false where it cannot be computed."""
    return f"coalesce(TRY(({when}\n)), false)"


def values_of(by: str) -> str:
    """SQL for the list of an item's values of `category` or an attribute."""
    return "categories" if by == CATEGORY else f"[CAST({sql_name(by)} AS VARCHAR)]"


@dataclass(frozen=True)
class DescribedItems:
    """The items of a night. Arrays are in the order of `ids`."""

    db: duckdb.DuckDBPyConnection

    @cached_property
    def ids(self) -> pa.Array:
        """The items' ids, sorted."""
        return self.column("item_id").combine_chunks()

    @cached_property
    def available(self) -> Bools:
        """Of each item, whether it may be shown."""
        return self.flags("available")

    def column(self, sql: str) -> pa.ChunkedArray:
        """An expression's value for each item."""
        return self.db.sql(f"SELECT {sql} AS value FROM described ORDER BY item_id").to_arrow_table()["value"]

    def flags(self, sql: str) -> Bools:
        """An expression that is true or false for each item."""
        import numpy as np

        return np.asarray(self.column(sql).to_numpy(), np.bool_)

    def values(self, sql: str) -> ItemValues:
        """Each item's values of a list in SQL, as places among the distinct ones, which are sorted."""
        import numpy as np
        import pyarrow as pa

        given = "value IS NOT NULL" if "DOUBLE" in sql else "value <> ''"
        found = self.db.sql(
            f"""WITH each AS (SELECT row_number() OVER (ORDER BY item_id) - 1 AS item, unnest({sql}) AS value
                FROM described), pairs AS (SELECT DISTINCT item, value FROM each WHERE {given})
            SELECT item, value, dense_rank() OVER (ORDER BY value) - 1 AS code FROM pairs ORDER BY item, code"""
        ).to_arrow_table()
        codes = found["code"].to_numpy()
        firsts = np.unique(codes, return_index=True)[1]
        known = found["value"].combine_chunks().take(pa.array(firsts, pa.int64()))
        return ItemValues.from_pairs(found["item"].to_numpy(), codes, len(self.ids), known)

    def one_value(self) -> ItemValues:
        """The same value for every item."""
        import numpy as np
        import pyarrow as pa

        every = np.arange(len(self.ids))
        return ItemValues.from_pairs(every, np.zeros_like(every), len(every), pa.array(["all"]))


@dataclass(frozen=True)
class Compilation:
    """What the compilation of one rule is given: the night's items, and the rule's place in nightloom.toml."""

    items: DescribedItems
    night: date
    k: int
    """Places of a page."""
    location: tuple[str | int, ...]
    """The rule's place in the file, e.g. ("slate", "caps", 0)."""
    place_of: Callable[..., str]
    """A place in the file -> `nightloom.toml, line N: slate.caps.0.by`."""

    def meeting(self, when: str, key: str = "when") -> Bools:
        """Of each item, whether it meets the condition that stands under a key; a wrong one is an error with its line.

        A condition that no item meets, or that names a category of no item, is a warning.
        """
        items = self.items
        if words := condition_problem(items.db, when):
            raise SettingsError(f"{self.place_of(*self.location, key)}: {words}")
        self._check_categories(when, key)
        met = items.flags(condition(when))
        if not met.any() and len(met):
            self.warn(key, "no item meets it")
        return met

    def warn(self, key: str, words: str) -> None:
        """Print a warning that names the key's line."""
        print(f"warning: {self.place_of(*self.location, key)}: {words}", file=sys.stderr)

    def _check_categories(self, when: str, key: str) -> None:
        named = {(one or other).replace("''", "'") for one, other in CATEGORY_NAMED.findall(when)}
        if named:
            rows = self.items.db.sql("SELECT DISTINCT unnest(categories) FROM described").fetchall()
            known = [row[0] for row in rows]
            for category in sorted(named - set(known)):
                self.warn(key, f"names the category '{category}', which no item has{suggest_key(category, known)}")
