"""Unusable records: which there are, their outcome, and their replay.

quarantine.rows -> rows; replay_rows(): -> bronze.*, where a record goes in again with its original time and night,
mended or unchanged. The next night reads it from there like any record: it lands once, as if it had been correct.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from nightloom.contracts import BRONZE, QUARANTINE_ROWS, SILVER, Table
from nightloom.lake import Lake, arrow, arrow_schema, now
from nightloom.literals import sql_text

WAITING, REPLAYED, DISCARDED = "waiting", "replayed", "discarded"
ID_LENGTH = 64
"""Length of a complete row id; a person may give the start of one."""
ROWS_AT_A_TIME = 20_000
"""Records that are Python objects at a time; the others are Arrow's."""

Row = dict[str, Any]


def read_rows(lake: Lake, where: str, limit: int | None = None) -> list[Row]:
    """Rows of quarantine.rows that match an SQL condition, sorted by night, source and reason; at most `limit`."""
    most = "" if limit is None else f" LIMIT {limit}"
    found = lake.rows(QUARANTINE_ROWS, f"{where} ORDER BY night, source, reason, row_id{most}")
    return list(found.to_pylist())


def filter_sql(
    row_ids: Collection[str] = (), night: date | None = None, source: str | None = None, reason: str | None = None
) -> str:
    """The filters of a command as an SQL condition."""
    parts = [f"{name} = {sql_text(value)}" for name, value in (("source", source), ("reason", reason)) if value]
    if night:
        parts.append(f"night = DATE '{night}'")
    if row_ids:
        starts = (f"row_id LIKE {sql_text(each + '%')}" for each in row_ids)
        parts.append(f"({' OR '.join(starts)})")
    return " AND ".join(parts) or "true"


def find_rows(lake: Lake, where: str, columns: Collection[str], ids: Collection[str] = ()) -> pa.Table:
    """Columns of the rows of quarantine.rows that match an SQL condition and, if `ids` are given, have one of them."""
    found = lake.stream(QUARANTINE_ROWS, where, [*columns], lake.version(QUARANTINE_ROWS))
    schema = pa.schema([arrow_schema(QUARANTINE_ROWS).field(name) for name in columns])
    if not ids:
        return found.read_all().cast(schema)
    wanted = pa.table({"row_id": pa.array(ids, pa.string())})
    joined = _joined(found, wanted, ", ".join(f"stored.{name}" for name in columns))
    return pa.Table.from_batches([batch.cast(schema) for batch in joined], schema)


def replay_rows(lake: Lake, rows: pa.Table, mended: Mapping[str, str], by: str) -> None:
    """Put records into bronze again, then mark the rows (row_id, kind, raw) of quarantine.

    After a kill in between, the same call finishes the work. The new record has the times and the night of the first
    one, so it is checked and ordered like that one. Its file names the first record. `mended` is row id -> record.
    """
    for kind in sorted(rows["kind"].unique().to_pylist()):
        of_kind = (
            rows.filter(pc.equal(rows["kind"], kind)).select(["row_id", "raw"]).rename_columns(["row_id", "again"])
        )
        replayed, ids = [], list[tuple[str, str]]()
        for batch in _rows_by_id(lake, BRONZE[kind], of_kind, "stored.*, again"):
            records = [
                _replayed_record({name: value for name, value in row.items() if name != "again"},
                                 mended.get(row["row_id"], row["again"])) for row in batch
            ]  # fmt: skip
            ids += [(first["row_id"], new["row_id"]) for first, new in zip(batch, records, strict=True)]
            replayed.append(arrow(BRONZE[kind], records))
        if replayed:
            new = pa.concat_tables(replayed)
            known = pa.array(_existing(lake, BRONZE[kind], new["row_id"]), pa.string())
            new = new.filter(pc.invert(pc.is_in(new["row_id"], value_set=known)))
            if new.num_rows:
                lake.append(BRONZE[kind], new)
        record_decision(lake, [first for first, _ in ids], REPLAYED, by, [again for _, again in ids])


def _rows_by_id(lake: Lake, table: Table, wanted: pa.Table, columns: str) -> Iterator[list[Row]]:
    """Rows of a table with the row ids of `wanted`, joined with it, in batches: of an `IN` each id would be parsed."""
    for batch in _joined(lake.stream(table, "true", ("*",), lake.version(table)), wanted, columns):
        yield batch.to_pylist()


def _existing(lake: Lake, table: Table, ids: pa.ChunkedArray) -> list[str]:
    """Which of these row ids a table has."""
    stored = lake.stream(table, "true", ("row_id",), lake.version(table))
    return [
        row for batch in _joined(stored, pa.table({"row_id": ids}), "row_id") for row in batch["row_id"].to_pylist()
    ]


def _joined(stored: pa.RecordBatchReader, wanted: pa.Table, columns: str) -> Iterator[pa.RecordBatch]:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("stored", stored)
        db.register("wanted", wanted)
        yield from db.sql(f"SELECT {columns} FROM stored JOIN wanted USING (row_id)").to_arrow_reader(ROWS_AT_A_TIME)


def _replayed_record(first: Row, raw: str) -> Row:
    file = f"quarantine/{first['row_id']}"
    digest = hashlib.sha256("|".join((first["source"], file, raw)).encode()).hexdigest()
    as_before = {"problem": first["problem"] if raw == first["raw"] else None, "lines": None, "file_summary": None}
    return first | as_before | {"row_id": digest, "file": file, "raw": raw}


def record_decision(
    lake: Lake, row_ids: Collection[str], state: str, by: str, replayed_as: Collection[str] | None = None
) -> None:
    """Write state, replayed_as, decided_at and decided_by of rows, in one commit."""
    rows, at = len(row_ids), pa.scalar(now(), pa.timestamp("us", "UTC"))
    columns = {
        "row_id": pa.array(row_ids, pa.string()),
        "state": pa.repeat(state, rows),
        "decided_at": pa.repeat(at, rows),
        "decided_by": pa.repeat(by, rows),
    }
    if replayed_as is not None:
        columns["replayed_as"] = pa.array(replayed_as, pa.string())
    lake.update(QUARANTINE_ROWS, pa.table(columns))


def add_outcomes(lake: Lake, rows: list[Row]) -> None:
    """Add `became` to each row: waiting, discarded, or the outcome of the replayed record."""
    for kind in sorted({row["kind"] for row in rows}):
        of_kind = [row for row in rows if row["kind"] == kind]
        ids = pa.chunked_array([[row["replayed_as"] for row in of_kind if row["replayed_as"]]], pa.string())
        landed = set(_existing(lake, SILVER[kind], ids))
        again = _rows_by_id(lake, QUARANTINE_ROWS, pa.table({"row_id": ids}), "row_id, reason")
        bad = {row["row_id"]: row["reason"] for batch in again for row in batch}
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
