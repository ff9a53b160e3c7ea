"""Failed rows with the id of a bronze record -> the files that they came from, as recorded in bronze."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from expectations.results import ExpectationResult
from nightloom.contracts import BRONZE, SILVER, Table
from nightloom.literals import one_of
from nightloom.night.context import Night

BRONZE_OF: Mapping[str, Table] = {SILVER[kind].full_name: BRONZE[kind] for kind in SILVER}
"""Table whose rows have a `row_id` and no `file` of their own -> the bronze table that has both."""


def source_files(night: Night, results: Iterable[ExpectationResult]) -> dict[str, str]:
    """Row id -> file, for the failed rows in the results; ids that bronze does not have are left out."""
    wanted: dict[str, set[str]] = {}
    for result in results:
        ids = {row["row_id"] for row in result.failed_rows if row.get("row_id") and "file" not in row}
        if ids and result.table in BRONZE_OF:
            wanted.setdefault(result.table, set()).update(ids)
    return {row: file for name, ids in wanted.items() for row, file in _files_of(night, BRONZE_OF[name], ids)}


def _files_of(night: Night, bronze: Table, ids: set[str]) -> list[tuple[str, str]]:
    if not night.lake.exists(bronze):
        return []
    found = night.lake.rows(bronze, one_of("row_id", sorted(ids)), ("row_id", "file"), night.pin(bronze))
    return list(zip(found["row_id"].to_pylist(), found["file"].to_pylist(), strict=True))
