"""The conditions of the slate rules, bound by DuckDB to an empty table of items at load, long before a night."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nightloom.literals import sql_name
from nightloom.slate.described import described_columns
from nightloom.slate.settings import Location, Slate


def find_wrong_conditions(slate: Slate, attributes: Mapping[str, str]) -> Iterator[tuple[Location, str]]:
    """(place in the file, words) of each condition that DuckDB does not understand; `attributes` are those of items."""
    given = [((*location, "when"), rule.condition) for location, rule in slate.located_rules]
    if all(sql in (None, "true") for _, sql in given):
        return
    import duckdb  # a fifth of a second: only where there are conditions

    from nightloom.slate.described import condition_problem

    columns = ", ".join(f"{sql_name(name)} {type}" for name, type in described_columns(attributes).items())
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE described ({columns})")
        for location, sql in given:
            if sql is not None and (words := condition_problem(db, sql)):
                yield location, words
