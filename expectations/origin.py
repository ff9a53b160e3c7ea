"""Failing rows that carry the id of a bronze record -> the files they came out of, as bronze knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from expectations.outcomes import Outcome
from nightloom.contracts import BRONZE_EVENTS, BRONZE_ITEMS, BRONZE_USERS, INTERACTIONS, ITEMS, USERS, Table
from nightloom.literals import one_of
from nightloom.night.context import Night

MADE_FROM: Mapping[str, Table] = {
    INTERACTIONS.full_name: BRONZE_EVENTS,
    ITEMS.full_name: BRONZE_ITEMS,
    USERS.full_name: BRONZE_USERS,
}
"""Table whose rows have a `row_id` and no `file` of their own -> the bronze table that has both."""


def files(night: Night, found: Iterable[Outcome]) -> dict[str, str]:
    """Row id -> file, for the failing rows that outcomes name; ids that bronze does not have are left out."""
    wanted: dict[str, set[str]] = {}
    for outcome in found:
        ids = {row["row_id"] for row in outcome.broke_it if row.get("row_id") and "file" not in row}
        if ids and outcome.table in MADE_FROM:
            wanted.setdefault(outcome.table, set()).update(ids)
    return {row: file for name, ids in wanted.items() for row, file in _looked_up(night, MADE_FROM[name], ids)}


def _looked_up(night: Night, bronze: Table, ids: set[str]) -> list[tuple[str, str]]:
    if not night.lake.exists(bronze):
        return []
    found = night.lake.rows(bronze, one_of("row_id", sorted(ids)), ("row_id", "file"), night.pin(bronze))
    return list(zip(found["row_id"].to_pylist(), found["file"].to_pylist(), strict=True))
