"""Unusable records: which there are, their outcome, and their replay.

quarantine.rows -> rows; replay_rows(): -> bronze.*, where a record goes in again with its original time and night,
mended or unchanged. The next night reads it from there like any record: it lands once, as if it had been correct.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

from nightloom.contracts import BRONZE, QUARANTINE_ROWS, SILVER
from nightloom.lake import Lake, now
from nightloom.literals import one_of, sql_text

WAITING, REPLAYED, DISCARDED = "waiting", "replayed", "discarded"
ID_LENGTH = 64
"""Length of a complete row id; a person may give the start of one."""

Row = dict[str, Any]


def read_rows(lake: Lake, where: str) -> list[Row]:
    """Rows of quarantine.rows that match an SQL condition, sorted by night, source and reason."""
    found = lake.rows(QUARANTINE_ROWS, f"{where} ORDER BY night, source, reason, row_id")
    return list(found.to_pylist())


def filter_sql(
    row_ids: Collection[str] = (), night: date | None = None, source: str | None = None, reason: str | None = None
) -> str:
    """The filters of a command as an SQL condition."""
    parts = [f"{name} = {sql_text(value)}" for name, value in (("source", source), ("reason", reason)) if value]
    if night:
        parts.append(f"night = DATE '{night}'")
    if row_ids:
        complete = [each for each in row_ids if len(each) == ID_LENGTH]
        starts = [f"row_id LIKE {sql_text(each + '%')}" for each in row_ids if len(each) != ID_LENGTH]
        parts.append(f"({' OR '.join([one_of('row_id', complete), *starts])})")
    return " AND ".join(parts) or "true"


def replay_rows(lake: Lake, rows: list[Row], mended: Mapping[str, str], by: str) -> None:
    """Put the records into bronze again, then mark the rows. After a kill in between, the same call finishes the work.

    The new record has the times and the night of the first one, so it is checked and ordered like that one. Its file
    names the first record. `mended` is row id -> record.
    """
    for kind in sorted({row["kind"] for row in rows}):
        of_kind = [row for row in rows if row["kind"] == kind]
        first = _by_id(lake.rows(BRONZE[kind], one_of("row_id", [row["row_id"] for row in of_kind])).to_pylist())
        replayed = {
            row["row_id"]: _replayed_record(first[row["row_id"]], mended.get(row["row_id"], row["raw"]))
            for row in of_kind
        }
        found = lake.rows(BRONZE[kind], one_of("row_id", [new["row_id"] for new in replayed.values()]), ["row_id"])
        known = set(found["row_id"].to_pylist())
        if new := [record for record in replayed.values() if record["row_id"] not in known]:
            lake.append(BRONZE[kind], new)
        record_decision(
            lake, [row | {"state": REPLAYED, "replayed_as": replayed[row["row_id"]]["row_id"]} for row in of_kind], by
        )


def _replayed_record(first: Row, raw: str) -> Row:
    file = f"quarantine/{first['row_id']}"
    digest = hashlib.sha256("|".join((first["source"], file, raw)).encode()).hexdigest()
    return first | {"row_id": digest, "file": file, "raw": raw}


def record_decision(lake: Lake, rows: Collection[Row], by: str) -> None:
    """Write state, replayed_as, decided_at and decided_by of rows, in one commit."""
    stamp = {"decided_at": now(), "decided_by": by}
    lake.update(QUARANTINE_ROWS, [row | stamp for row in rows])


def add_outcomes(lake: Lake, rows: list[Row]) -> None:
    """Add `became` to each row: waiting, discarded, or the outcome of the replayed record."""
    for kind in sorted({row["kind"] for row in rows}):
        of_kind = [row for row in rows if row["kind"] == kind]
        ids = one_of("row_id", [row["replayed_as"] for row in of_kind if row["replayed_as"]])
        landed = set(lake.rows(SILVER[kind], ids, ["row_id"])["row_id"].to_pylist())
        bad = {
            row["row_id"]: row["reason"] for row in lake.rows(QUARANTINE_ROWS, ids, ["row_id", "reason"]).to_pylist()
        }
        through = lake.consumed_version(BRONZE[kind], SILVER[kind]) == lake.version(BRONZE[kind])
        for row in of_kind:
            row["became"] = _outcome(row, landed, bad, through)


def _outcome(row: Row, landed: set[str], bad: Mapping[str, str], through: bool) -> str:
    if row["state"] != REPLAYED:
        return str(row["state"])
    if row["replayed_as"] in landed:
        return f"landed in {SILVER[row['kind']].full_name}"
    if row["replayed_as"] in bad:
        return f"in quarantine again: {bad[row['replayed_as']]}"
    return "replayed: what it says was there already, or is skipped" if through else "replayed: the next night takes it"


def _by_id(rows: list[Row]) -> dict[str, Row]:
    return {row["row_id"]: row for row in rows}
