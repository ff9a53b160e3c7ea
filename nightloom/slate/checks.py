"""The SQL that looks for broken slate rules in a night's lists; it knows nothing of how the rules were applied.

DuckDB has `lists` (user_id, items), `popular` (items), `histories` (user_id, items), `people` (user_id, attributes) and
`described` (a row per item). Every kind of rule gives its own SQL: NoRows or FewMissed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nightloom.literals import sql_text
from nightloom.slate.described import condition

ENTRIES = "(SELECT user_id, unnest(items) AS item_id, unnest(range(len(items))) AS place FROM lists)"
"""A row per user and listed item; places count from 0."""
SHOWN = f"(SELECT user_id, item_id FROM {ENTRIES} UNION ALL SELECT NULL, unnest(items) FROM popular)"
"""A row per item that a user, or a stranger, is shown."""


@dataclass(frozen=True)
class NoRows:
    """A query that finds nothing unless the rule is broken."""

    sql: str
    what: str
    """What the query's rows are, e.g. "entries that it hides"."""


@dataclass(frozen=True)
class FewMissed:
    """A query for pages that lack a place which the rule reserves: there may have been no item left to put there."""

    sql: str
    """One row: how many first pages the rule holds for, and how many of them lack a place."""


def missed_places(when: str, places: int, k: int, users: Mapping[str, str] | None = None) -> FewMissed:
    """First pages, full ones, of these users with fewer than so many items that meet a condition."""
    of_page = f"""(SELECT user_id, count(*) AS has FROM {ENTRIES} WHERE place < {k} AND item_id IN
        (SELECT item_id FROM described WHERE {condition(when)}) GROUP BY user_id)"""
    return FewMissed(_pages(f"coalesce(has, 0) < {places}", of_page, k, users or {}))


def missed_pin(item: str, place: int, users: Mapping[str, str]) -> FewMissed:
    """Lists of these users with another item at the place, counted from 1, though they have not seen this one."""
    missed = f"items[{place}] <> {sql_text(item)} AND NOT list_contains(seen, {sql_text(item)})"
    return FewMissed(_pages(missed, "(SELECT NULL AS user_id, 0 AS has)", place, users))


def _pages(missed: str, of_page: str, length: int, users: Mapping[str, str]) -> str:
    whose = _all(f"attributes[{sql_text(name)}] = {sql_text(value)}" for name, value in users.items())
    return f"""SELECT count(*) AS pages, count(*) FILTER ({missed}) AS missed
        FROM lists LEFT JOIN (SELECT user_id, items AS seen FROM histories) USING (user_id)
        LEFT JOIN people USING (user_id) LEFT JOIN {of_page} USING (user_id) WHERE len(items) >= {length} AND {whose}"""


def _all(conditions: Iterable[str]) -> str:
    return " AND ".join(["true", *conditions])
