"""Names of the lake's tables: which ones a statement names, the nearest to a wrong one, and a statement's own views.

A statement is SQL of any dialect; what stands in strings and comments is no name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from nightloom.contracts import Table

NO_NAMES = r"'(?:[^'\\]|\\.|'')*'|--[^\n]*|/\*.*?\*/"
"""A string or a comment."""


def tables_in(statement: str, tables: Sequence[Table]) -> list[Table]:
    """The tables whose full names stand in the statement, quoted or not."""
    found: dict[str, Table] = {}

    def note(table: Table) -> str:
        found[table.full_name] = table
        return ""

    _each(statement, tables, note)
    return [table for table in tables if table.full_name in found]


def with_views(statement: str, tables: Sequence[Table], values: Mapping[str, str]) -> str:
    """The statement with a view's name for each table's, silver__items for silver.items, and `:name` as its value.

    In the text, for Spark 4.2 does not find its own parameters in every corner of a statement.
    """
    return _each(statement, tables, view, values)


def view(table: Table) -> str:
    """Name of a table's view, where a name can have no dot."""
    return table.full_name.replace(".", "__")


def nearest(name: str, tables: Sequence[Table]) -> str:
    """`did you mean silver.items?`, or all names there are."""
    known = [each.full_name for each in tables]
    same = [full for full in known if full.endswith(f".{name.lower()}")]
    near = same or difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {' or '.join(near)}?" if near else f"the tables are {', '.join(known)}."


def _each(
    statement: str,
    tables: Sequence[Table],
    put: Callable[[Table], str],
    values: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The statement with `put` in place of each table's name, and values in place of `:name`."""
    known = {table.full_name: table for table in tables}
    layers = "|".join({table.layer for table in tables})
    name = rf"(?<![\w.])[\"`]?({layers})[\"`]?\s*\.\s*[\"`]?(\w+)[\"`]?"

    def replaced(match: re.Match[str]) -> str:
        layer, table, parameter = match.groups()
        if parameter:
            return values.get(parameter, match[0])
        named = known.get(f"{layer}.{table}".lower())
        return put(named) if named else match[0]

    return re.sub(rf"{NO_NAMES}|{name}|(?<![\w:)\]]):(\w+)", replaced, statement, flags=re.DOTALL | re.IGNORECASE)
