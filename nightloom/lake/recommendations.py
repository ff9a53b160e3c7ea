"""gold.recommendations: the list of every user on every night. Only this module knows how a night is stored.

A night has rows of its own for users whose list differs from that of the last full refresh, the newest night in which
everybody was scored (`full_night`). Every other user has the list of the full refresh. So a night costs, in scoring and
in files, what changed. Queries here are SQL that Spark, DuckDB and DataFusion all read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from nightloom.contracts import RECOMMENDATIONS, Table
from nightloom.errors import MissingTableError
from nightloom.lake import Lake
from nightloom.literals import sql_text
from nightloom.places import place_at

CARRIED_COLUMNS = ("user_id", "items", "scores", "model_version", "generated_at")
"""A user's list, without the columns that place it in a night: those are night_columns()."""
VALUES = [name for name in RECOMMENDATIONS.column_names if name not in RECOMMENDATIONS.key]
COLUMNS, OTHERS = ", ".join(VALUES), ", ".join(f"others.{name}" for name in VALUES)


@dataclass(frozen=True)
class StoredNight:
    """A night's place in the table."""

    night: date
    last_full_refresh: date
    """The newest night, this or an earlier one, in which everybody was scored."""
    lists: int
    """Users of the full refresh."""
    changed: int
    """Users with another list since the full refresh."""


def nightly_lists(lake: Lake, night: date, version: int | None = None, source: str = "t") -> str:
    """SELECT of every user's row of one night; `source` is the name of gold.recommendations in the query."""
    full = _full_night(lake, night, version)
    own = f"SELECT night, user_id, {COLUMNS} FROM {source} WHERE night = DATE '{night}'"
    if full == night:
        return own
    return f"""{own} UNION ALL
        SELECT DATE '{night}' AS night, others.user_id, {OTHERS} FROM {source} others
        WHERE others.night = DATE '{full}' AND NOT EXISTS
        (SELECT 1 FROM {source} own WHERE own.night = DATE '{night}' AND own.user_id = others.user_id)"""


def logical_rows(table: Table, source: str) -> str:
    """SELECT of a table's rows as its grain says; for gold.recommendations, every user's list of every night."""
    if table != RECOMMENDATIONS:
        return f"SELECT * FROM {source}"
    return f"""SELECT night, user_id, {COLUMNS} FROM {source} UNION ALL
        SELECT nights.night, others.user_id, {OTHERS}
        FROM (SELECT DISTINCT night, full_night FROM {source} WHERE night > full_night) nights
        JOIN {source} others ON others.night = nights.full_night
        WHERE NOT EXISTS (SELECT 1 FROM {source} own WHERE own.night = nights.night AND own.user_id = others.user_id)"""


def files_of_night(lake: Lake, table: Table, night: date, version: int | None = None) -> list[str]:
    """Files that hold a night's rows of a table that has nights; for gold.recommendations, every user's list."""
    nights = {night, _full_night(lake, night, version)} if table == RECOMMENDATIONS else {night}
    return _files(lake, table, nights, version)


def check_files(lake: Lake, table: Table, night: date, version: int) -> None:
    """Raises MissingTableError where files of a night at that version are gone; the log may outlive them."""
    own = _files(lake, table, {night}, version)
    # The night's own rows say which other files belong to it.
    if not (_exist(own) and _exist(files_of_night(lake, table, night, version))):
        raise MissingTableError(f"files of version {version} of {table.full_name} are gone: a vacuum removed them")


def previous_night(lake: Lake, night: date) -> StoredNight | None:
    """The newest night before `night` that has lists."""
    if not lake.exists(RECOMMENDATIONS):
        return None
    found = lake.rows(RECOMMENDATIONS, f"night < DATE '{night}'", ["max(night) AS night"])["night"][0].as_py()
    if found is None:
        return None
    full = _full_night(lake, found)
    return StoredNight(found, full, _rows(lake, full), 0 if found == full else _rows(lake, found))


def rows_to_carry(previous: StoredNight, source: str) -> str:
    """SELECT of the CARRIED_COLUMNS that the next night stores again: lists that changed since the full refresh.

    After a full refresh it is one user's list: a night without changes needs a row to be in the table.
    """
    columns = f"SELECT {', '.join(CARRIED_COLUMNS)} FROM {source}"
    if previous.changed:
        return f"{columns} WHERE night = DATE '{previous.night}'"
    return f"{columns} WHERE night = DATE '{previous.last_full_refresh}' LIMIT 1"


def night_columns(night: date, previous: StoredNight | None = None) -> dict[str, date]:
    """Columns with one value in all rows of a night, which `previous` completes, or which is a full refresh."""
    return {"night": night, "full_night": previous.last_full_refresh if previous else night}


def dependent_nights(lake: Lake, night: date) -> list[date]:
    """Later nights that take lists from this one: to rewrite it, write them as full refreshes first."""
    if not lake.exists(RECOMMENDATIONS):
        return []
    where = f"full_night = DATE '{night}' AND night > DATE '{night}'"
    return sorted(lake.rows(RECOMMENDATIONS, where, ["DISTINCT night"])["night"].to_pylist())


def oldest_needed_night(lake: Lake, oldest: date) -> date:
    """The oldest night of which rows are needed to read the lists of the night `oldest` and of later ones."""
    rows = lake.rows(RECOMMENDATIONS, f"night >= DATE '{oldest}'", ["min(full_night) AS full_night"])
    return min(oldest, rows["full_night"][0].as_py() or oldest)


def _full_night(lake: Lake, night: date, version: int | None = None) -> date:
    """The last full refresh as of a night; the night itself where it has no rows."""
    rows = lake.rows(RECOMMENDATIONS, f"night = DATE '{night}' LIMIT 1", ["full_night"], version)
    found: list[date] = rows["full_night"].to_pylist()
    return found[0] if found else night


def _files(lake: Lake, table: Table, nights: set[date], version: int | None) -> list[str]:
    named = ", ".join(sql_text(str(night)) for night in sorted(nights))
    return lake.files(table, version, f"night IN ({named})")


def _exist(files: list[str]) -> bool:
    return all(place_at(file).exists() for file in files)


def _rows(lake: Lake, night: date) -> int:
    """Rows of the night's own."""
    counted = lake.rows(RECOMMENDATIONS, f"night = DATE '{night}'", ["count(*) AS n"])
    return int(counted["n"][0].as_py())
