"""Schema evolution: a table of an earlier Nightloom gets the columns of its present contract when it is opened."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import CommitFailedError

from nightloom.contracts import Table
from nightloom.lake.schemas import arrow_schema, delta_schema
from nightloom.literals import sql_name


def with_present_columns(table: Table, opened: DeltaTable) -> DeltaTable:
    """The opened table with the columns of its contract: added first, then renamed, each in one commit."""
    found = {field.name for field in opened.schema().fields}
    former = {c.name: c.former_name for c in table.columns if c.former_name in found and c.name not in found}
    new = [field for field in delta_schema(table).fields if field.nullable and field.name not in found | former.keys()]
    if not new and not former:
        return opened
    try:
        if new:
            opened.alter.add_columns(new)
        else:
            _rename_columns(table, opened, former)
    except CommitFailedError:
        pass  # another process was quicker, with this change or with rows
    opened.update_incremental()
    return with_present_columns(table, opened)


def _rename_columns(table: Table, opened: DeltaTable, former: Mapping[str, str | None]) -> None:
    """Write all rows again: delta-rs cannot rename a column."""
    names = ", ".join(f"{sql_name(former.get(name) or name)} AS {sql_name(name)}" for name in table.column_names)
    rows = pa.table(QueryBuilder().register("t", opened).execute(f"SELECT {names} FROM t").read_all())
    write_deltalake(opened, rows.cast(arrow_schema(table)), mode="overwrite", schema_mode="overwrite")
