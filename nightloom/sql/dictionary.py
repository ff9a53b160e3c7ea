"""The data dictionary: every table of the lake, or one table's columns, with its present state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table as Grid
from rich.text import Text

from nightloom.contracts import Table
from nightloom.lake import Lake
from nightloom.sql.names import nearest
from nightloom.sql.query import QueryError
from nightloom.terminal import screen


def require_table(name: str, known: Sequence[Table]) -> Table:
    """The table of this name. Raises QueryError that names the nearest one."""
    found = next((each for each in known if each.full_name == name), None)
    if found is None:
        raise QueryError(f"no table {name}; {nearest(name, known)}")
    return found


def table_info(lake: Lake, table: Table) -> dict[str, Any]:
    """A table's contract and state; version and rows are None before its first night."""
    delta = lake.open(table) if lake.exists(table) else None
    return {
        "name": table.full_name,
        "layer": table.layer,
        "grain": table.grain,
        "key": list(table.key),
        "checks": [condition for _, condition in table.checks],
        "partition": table.partition,
        "retention_days": table.retention_days,
        "readers": list(table.readers),
        "version": delta.version() if delta else None,
        "rows": delta.count() if delta else None,
        "columns": [
            {"name": c.name, "type": c.type, "comment": c.comment, "required": c.required, "personal": c.personal}
            for c in table.columns
        ],
    }


def print_overview(lake: Lake, tables: Sequence[Table]) -> None:
    """Print all tables: rows, version, grain."""
    grid = Grid("table", "rows", "version", "grain")
    grid.columns[1].justify = grid.columns[2].justify = "right"
    for each in (table_info(lake, table) for table in tables):
        rows, version = ("-" if each[what] is None else f"{each[what]:,}" for what in ("rows", "version"))
        grid.add_row(each["name"], rows, version, each["grain"])
    screen().print(grid)


def print_table(lake: Lake, table: Table) -> None:
    """Print one table: its state and its columns."""
    console, each = screen(), table_info(lake, table)
    console.print(Text.assemble((each["name"], "bold"), f": {each['grain']}"))
    state = "not there yet" if each["version"] is None else f"version {each['version']}, {each['rows']:,} rows"
    retention = f"kept {each['retention_days']} days" if each["retention_days"] else "kept"
    console.print(f"{state}; key {', '.join(each['key'])}; {retention}; read by {', '.join(each['readers'])}")
    for condition in each["checks"]:
        console.print(f"each row: {condition}")
    grid = Grid("column", "type", "", "meaning")
    for column in each["columns"]:
        flags = [word for word, on in (("not null", column["required"]), ("personal", column["personal"])) if on]
        grid.add_row(column["name"], column["type"], ", ".join(flags), column["comment"])
    console.print(grid)
