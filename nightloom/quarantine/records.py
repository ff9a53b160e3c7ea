"""The records that could not be used: which, what became of them, and how they go in again.

quarantine.rows -> rows; replayed(): -> bronze.*, where the record goes in again with its own time and night, mended or
as it was. The next night takes it from there as it takes every record: it lands as if it had come right, once.
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
"""Of a whole row id; a person may give the start of one."""

Row = dict[str, Any]


def rows_of(lake: Lake, where: str) -> list[Row]:
    """Rows of quarantine.rows that meet an SQL condition, in order of night, source and reason."""
    found = lake.rows(QUARANTINE_ROWS, f"{where} ORDER BY night, source, reason, row_id")
    return list(found.to_pylist())


def chosen(
    row_ids: Collection[str] = (), night: date | None = None, source: str | None = None, reason: str | None = None
) -> str:
    """A person's choice as an SQL condition."""
    parts = [f"{name} = {sql_text(value)}" for name, value in (("source", source), ("reason", reason)) if value]
    if night:
        parts.append(f"night = DATE '{night}'")
    if row_ids:
        whole = [each for each in row_ids if len(each) == ID_LENGTH]
        starts = [f"row_id LIKE {sql_text(each + '%')}" for each in row_ids if len(each) != ID_LENGTH]
        parts.append(f"({' OR '.join([one_of('row_id', whole), *starts])})")
    return " AND ".join(parts) or "true"


def replayed(lake: Lake, rows: list[Row], mended: Mapping[str, str], by: str) -> None:
    """Put the records into bronze again, then mark the rows; killed in between, the same call ends it.

    The new record has the times and the night of the first one, so that it is judged and ordered as that would have
    been, and names it as its file. `mended` is row id -> record.
    """
    for kind in sorted({row["kind"] for row in rows}):
        of_kind = [row for row in rows if row["kind"] == kind]
        first = _by_id(lake.rows(BRONZE[kind], one_of("row_id", [row["row_id"] for row in of_kind])).to_pylist())
        again = {row["row_id"]: _again(first[row["row_id"]], mended.get(row["row_id"], row["raw"])) for row in of_kind}
        there = lake.rows(BRONZE[kind], one_of("row_id", [new["row_id"] for new in again.values()]), ["row_id"])
        known = set(there["row_id"].to_pylist())
        if new := [record for record in again.values() if record["row_id"] not in known]:
            lake.append(BRONZE[kind], new)
        decide(lake, [row | {"state": REPLAYED, "replayed_as": again[row["row_id"]]["row_id"]} for row in of_kind], by)


def _again(first: Row, raw: str) -> Row:
    file = f"quarantine/{first['row_id']}"
    digest = hashlib.sha256("|".join((first["source"], file, raw)).encode()).hexdigest()
    return first | {"row_id": digest, "file": file, "raw": raw}


def decide(lake: Lake, rows: Collection[Row], by: str) -> None:
    """Set state, replayed_as, decided_at and decided_by of rows, in one commit."""
    stamp = {"decided_at": now(), "decided_by": by}
    lake.update(QUARANTINE_ROWS, [row | stamp for row in rows])


def became(lake: Lake, rows: list[Row]) -> None:
    """Add to each row `became`, in words: waiting, discarded, or what the replayed record came to."""
    for kind in sorted({row["kind"] for row in rows}):
        of_kind = [row for row in rows if row["kind"] == kind]
        ids = one_of("row_id", [row["replayed_as"] for row in of_kind if row["replayed_as"]])
        landed = set(lake.rows(SILVER[kind], ids, ["row_id"])["row_id"].to_pylist())
        bad = {
            row["row_id"]: row["reason"] for row in lake.rows(QUARANTINE_ROWS, ids, ["row_id", "reason"]).to_pylist()
        }
        through = lake.consumed_version(BRONZE[kind], SILVER[kind]) == lake.version(BRONZE[kind])
        for row in of_kind:
            row["became"] = _became(row, landed, bad, through)


def _became(row: Row, landed: set[str], bad: Mapping[str, str], through: bool) -> str:
    if row["state"] != REPLAYED:
        return str(row["state"])
    if row["replayed_as"] in landed:
        return f"landed in {SILVER[row['kind']].full_name}"
    if row["replayed_as"] in bad:
        return f"in quarantine again: {bad[row['replayed_as']]}"
    return "replayed: what it says was there already, or is skipped" if through else "replayed: the next night takes it"


def _by_id(rows: list[Row]) -> dict[str, Row]:
    return {row["row_id"]: row for row in rows}
