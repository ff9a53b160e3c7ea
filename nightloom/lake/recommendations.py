"""A night's lists, whole: gold.recommendations holds of a night the users who were scored, and for the rest a pointer.

`full_night` of a row names the newest night in which everybody was scored: whoever has no row of the night itself has
the list of that one. So a night costs, in scoring and in files, what changed. The SQL here is any engine's (Spark,
DuckDB, DataFusion); to whoever asks by `nightloom sql` or in a mart, the table's name means the whole lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from nightloom.contracts import RECOMMENDATIONS, Table
from nightloom.lake import Lake

OTHERS = [name for name in RECOMMENDATIONS.column_names if name not in RECOMMENDATIONS.key]
COLUMNS, REST = ", ".join(OTHERS), ", ".join(f"rest.{name}" for name in OTHERS)


def full_night(lake: Lake, night: date, version: int | None = None) -> date:
    """The night whose lists stand for users without a row of `night`; itself where that is whole, or has no rows."""
    rows = lake.rows(RECOMMENDATIONS, f"night = DATE '{night}' LIMIT 1", ["full_night"], version)
    found = rows["full_night"].to_pylist()
    return found[0] if found else night


def whole(source: str, night: date, full: date) -> str:
    """SELECT of every user's row of one night, with the table's columns; `full` is what full_night() says of it."""
    own = f"SELECT night, user_id, {COLUMNS} FROM {source} WHERE night = DATE '{night}'"
    if full == night:
        return own
    return f"""{own} UNION ALL
        SELECT DATE '{night}' AS night, rest.user_id, {REST} FROM {source} rest WHERE rest.night = DATE '{full}'
        AND NOT EXISTS (SELECT 1 FROM {source} own WHERE own.night = DATE '{night}' AND own.user_id = rest.user_id)"""


def meaning(table: Table, source: str) -> str:
    """SELECT of what a table's name means: all its rows, and of lists those of every night whole."""
    if table != RECOMMENDATIONS:
        return f"SELECT * FROM {source}"
    return f"""SELECT night, user_id, {COLUMNS} FROM {source} UNION ALL
        SELECT pointing.night, rest.user_id, {REST}
        FROM (SELECT DISTINCT night, full_night FROM {source} WHERE night > full_night) pointing
        JOIN {source} rest ON rest.night = pointing.full_night
        WHERE NOT EXISTS (SELECT 1 FROM {source} own WHERE own.night = pointing.night AND own.user_id = rest.user_id)"""


def of_nights(nights: Iterable[date]) -> str:
    """Predicate by which the log names the files of some nights."""
    named = ", ".join(sorted(f"'{night}'" for night in nights))
    return f"night IN ({named})"
