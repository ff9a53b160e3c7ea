"""The lists that gate 3 looks into: those that no open gate has judged, and those of users whose history has changed.

A night takes the lists of unchanged users from an earlier one: from the same files, which Delta never changes. What the
open gate of the night before found in these files still holds: no duplicate, no wrong score, no item seen by then. What
depends on all lists together (coverage, the catalogue, the served version) is counted over all of them every night.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb

from nightloom.contracts import HISTORIES, RECOMMENDATIONS
from nightloom.errors import MissingTableError
from nightloom.lake.duck import read_parquet
from nightloom.lake.recommendations import check_files, files_of_night, previous_night
from nightloom.literals import sql_text
from nightloom.night import records, stages
from nightloom.night.context import Night, end_of
from nightloom.night.records import OK
from nightloom.night.revision import code_revision
from nightloom.places import place_at


@dataclass(frozen=True)
class JudgedFiles:
    """What the gate of the night before read: files of gold.recommendations and of gold.histories."""

    night: date
    lists: set[str]
    """With the lists of users who had another one since."""
    replaced_by: set[str]
    """Those of these files whose lists stood in the place of carried ones, which were not judged then."""
    histories: set[str]


def create_scope(night: Night, db: duckdb.DuckDBPyConnection) -> None:
    """Make the view `unjudged_lists`, and `scope`: the users whose list or history no gate has seen as it is.

    `db` has the views `lists`, `stored_lists` (with its column night) and `weeks`.
    """
    lake, version = night.lake, night.pin(RECOMMENDATIONS)
    own = set(lake.files(RECOMMENDATIONS, version, _of(night.date)))
    carried = set(files_of_night(lake, RECOMMENDATIONS, night.date, version)) - own
    before = _judged_before(night) if carried else None
    if before is None or not carried <= before.lists:
        db.execute("CREATE TEMP VIEW unjudged_lists AS FROM lists")
        db.execute("CREATE TEMP VIEW scope AS SELECT user_id FROM lists")
        return
    others = f"SELECT user_id FROM stored_lists WHERE night = DATE '{night.date}'"
    if replaced_by := sorted(before.replaced_by - carried):
        read_parquet(db, replaced_by).create_view("replaced_before")
        others += " UNION SELECT user_id FROM replaced_before"
    db.execute(f"CREATE TEMP VIEW unjudged_lists AS FROM lists SEMI JOIN ({others}) USING (user_id)")
    users = "SELECT user_id FROM unjudged_lists"
    now = set(lake.files(HISTORIES, night.pin(HISTORIES)))
    if written := sorted(now - before.histories):
        users += f" UNION SELECT user_id FROM ({_changed_weeks(db, written, sorted(before.histories - now))})"
    # An event that was delivered before its time counts from the night of its time on.
    since, week = end_of(before.night), HISTORIES.period_of(before.night)
    due = f"""SELECT user_id FROM weeks
        WHERE week >= DATE '{week}' AND list_max("at") >= TIMESTAMPTZ '{since.isoformat()}'"""
    db.execute(f"CREATE TEMP TABLE scope AS {users} UNION {due}")


def _changed_weeks(db: duckdb.DuckDBPyConnection, written: list[str], gone: list[str]) -> str:
    """SELECT of the written weeks that are not as in the files which they replace; all where one of these is gone."""
    columns = 'week, user_id, items, "at"'
    read_parquet(db, written, hive_partitioning=True).create_view("written_weeks")
    if not gone or not all(place_at(file).exists() for file in gone):
        return f"SELECT {columns} FROM written_weeks"
    read_parquet(db, gone, hive_partitioning=True).create_view("replaced_weeks")
    return f"SELECT {columns} FROM written_weeks EXCEPT SELECT {columns} FROM replaced_weeks"


def _judged_before(night: Night) -> JudgedFiles | None:
    """What the gate of the night before read; None where its verdict does not hold.

    It holds where the gate was open and had the code and the settings of today.
    """
    previous = previous_night(night.lake, night.date)
    if previous is None:
        return None
    judged = records.gate_results(night.lake, previous.night).get(stages.SLATE_GATE.gate)
    if judged is None or judged.state != "open":
        return None
    runs = records.stage_runs(night.lake, stages.SLATE_GATE, statuses=OK, night=previous.night, run_id=judged.run_id)
    code = code_revision()
    if not runs or runs[-1].code != code or code.endswith(("+", "unknown")) or runs[-1].config != night.settings.digest:
        return None
    try:
        lists, histories = (runs[-1].reads[table.full_name] for table in (RECOMMENDATIONS, HISTORIES))
        check_files(night.lake, RECOMMENDATIONS, previous.night, lists)
        return JudgedFiles(
            previous.night,
            set(files_of_night(night.lake, RECOMMENDATIONS, previous.night, lists)),
            set(night.lake.files(RECOMMENDATIONS, lists, _of(previous.night))),
            set(night.lake.files(HISTORIES, histories)),
        )
    except MissingTableError:  # its version is out of the log, or a vacuum has deleted its files
        return None


def _of(night: date) -> str:
    return f"night IN ({sql_text(str(night))})"
