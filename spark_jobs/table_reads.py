"""How far a source's table was read: a small Delta table with a row for each read, and what a read brings.

A read notes here how far it gets before it begins. The number of its note is a Delta transaction id in bronze, written
in one commit with the rows: a note whose number bronze does not have last counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from pyspark.sql import DataFrame

from nightloom.errors import DataError
from nightloom.places import Place
from nightloom.section import join_names, suggest_key
from nightloom.settings import Source

SCHEMA = pa.schema(
    [("number", pa.int64()), ("table", pa.string()), ("until", pa.string()), ("at", pa.timestamp("us", "UTC"))]
)
MODIFIED = "_modified_at"
"""Column of new rows: when a row was last changed, as far as the source says it; a timestamp."""
EVER = datetime(1970, 1, 1)
"""As NewRows.repeated_since: any row may be in bronze."""


class Read(NamedTuple):
    """A read's note."""

    number: int
    table: str
    """What was read: of another table the position says nothing."""
    until: str
    """How far it got: a version, or a value of the cursor column."""
    at: datetime
    """When it began, before it looked at the table."""


@dataclass(frozen=True)
class Reads:
    """The reads of a source, oldest first, and the number of the last one whose rows bronze has; None: read it all."""

    notes: Sequence[Read]
    done: int | None

    def last_of(self, table: str) -> Read | None:
        """The last read whose rows bronze has, if it was one of this table."""
        return next((each for each in self.notes if each.number == self.done and each.table == table), None)


@dataclass(frozen=True)
class NewRows:
    """What a read brings."""

    rows: DataFrame
    """The declared fields and MODIFIED."""
    table: str
    until: str
    """As in the read's note."""
    repeated_since: datetime | None = None
    """Rows that bronze has got since this moment (UTC) may be among them; None: all are new."""


def check_columns(source: Source, names: Sequence[str], columns: Sequence[str]) -> None:
    """Raises DataError where a table lacks one of the named columns. As for Spark, case does not count."""
    there = {column.lower() for column in columns}
    if missing := [name for name in names if name.lower() not in there]:
        raise DataError(
            f"source '{source.name}': its table has no column {join_names(missing)}; it has {join_names(columns)}"
            f"{suggest_key(missing[0], columns)} Nothing was read: mend `fields`, or give the table that column again"
        )


def noted_reads(place: Place) -> list[Read]:
    """The notes of a source's reads, oldest first. The table is created at its first use."""
    if not DeltaTable.is_deltatable(str(place)):
        write_deltalake(str(place), SCHEMA.empty_table())
    found = QueryBuilder().register("t", DeltaTable(str(place))).execute("SELECT * FROM t ORDER BY number")
    return [Read(**row) for row in pa.table(found.read_all()).to_pylist()]


def note_read(place: Place, read: Read) -> None:
    """Add the note of a read."""
    write_deltalake(str(place), pa.Table.from_pylist([read._asdict()], schema=SCHEMA), mode="append")


def trim_reads(place: Place, oldest: datetime) -> None:
    """Forget the notes before a moment, without the last two: the next read begins at one of them."""
    notes = noted_reads(place)
    kept = [each for number, each in enumerate(notes) if each.at >= oldest or number >= len(notes) - 2]
    if len(kept) < len(notes):
        rows = pa.Table.from_pylist([each._asdict() for each in kept], schema=SCHEMA)
        write_deltalake(str(place), rows, mode="overwrite")
    DeltaTable(str(place)).vacuum(0, dry_run=False, enforce_retention_duration=False)
