"""Late data: any order and any number of deliveries give the same tables; events that are too late go to quarantine."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, HISTORIES, INTERACTIONS, ITEM_DAYS, QUARANTINE_ROWS, REOPENINGS
from nightloom.lake import Lake
from spark_jobs import bronze, gold_histories, gold_item_days, silver_interactions
from spark_jobs.context import SparkNight
from spark_jobs.silver_interactions import source_nights
from tests.spark_jobs.small_project import EVENTS_ONLY, READ, D, Project, Row, event, project

STAGES: tuple[Callable[[SparkNight], None], ...] = (
    bronze.main,
    silver_interactions.main,
    gold_histories.main,
    gold_item_days.main,
)
DAYS = [D + timedelta(days=n) for n in range(4)]


def lines(day: date) -> list[Row]:
    """A day's events; some of them also tell of the day before, two are alike."""
    number = (day - D).days * 10
    at = [f"{day}T{hour:02}:00:00Z" for hour in (0, 9, 23)] + [f"{day - timedelta(days=1)}T23:59:59Z"]
    events = [event(number + n, user_id=f"u{n % 2}", at=moment) for n, moment in enumerate(at)]
    return [*events, events[0]]


def content(at: Project, delivered: dict[date, list[tuple[str, date]]]) -> dict[str, list[str]]:
    """Night -> (file, day it is about) that comes in on it; then the tables' rows but for when they were written."""
    for night, files in delivered.items():
        for name, day in files:
            at.land(f"events/{name}.jsonl.gz", lines(day))
        at.run(*STAGES, day=night)
    tables = (INTERACTIONS, HISTORIES, ITEM_DAYS)
    return {table.full_name: [as_text(row) for row in at.rows(table)] for table in tables}


def as_text(row: Row) -> str:
    return json.dumps({name: value for name, value in row.items() if name not in ("night", "row_id")}, default=str)


def test_a_file_that_comes_twice_out_of_order_or_three_days_late_changes_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    at_once = content(project(tmp_path / "a", spark, EVENTS_ONLY), {DAYS[-1]: [(str(day), day) for day in DAYS]})
    assert len(at_once[INTERACTIONS.full_name]) == 16
    first, second, third, fourth = ((str(day), day) for day in DAYS)
    disordered = project(tmp_path / "b", spark, EVENTS_ONLY)
    late = {DAYS[1]: [third, second], DAYS[3]: [fourth, first, ("again", DAYS[2])]}
    assert content(disordered, late) == at_once
    days = {row["period"] for row in disordered.rows(REOPENINGS) if row["table"] == ITEM_DAYS.full_name}
    assert days == {D, DAYS[2]}


def test_an_event_from_beyond_the_window_is_in_quarantine_and_says_how_late_it_is(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    night, read = D + timedelta(days=9), READ + timedelta(days=9)
    at.ingest(event(1), event(2, at="2009-01-01T00:00:00Z"))
    late = [event(3, at=f"{D}T23:59:59Z"), event(4, at=f"{D - timedelta(days=1)}T12:00:00Z")]
    at.ingest(event(5, at=f"{D + timedelta(days=1)}T00:00:00Z"), *late, file="b", night=night, ingested_at=read)
    at.run(silver_interactions.main, day=night)
    assert {row["event_id"] for row in at.rows(INTERACTIONS)} == {"e1", "e2", "e5"}  # the past and a gap are not late
    (first, second) = at.rows(QUARANTINE_ROWS)
    assert {first["reason"], second["reason"]} == {"too_late"}
    expected = f"occurred_at is {D} 23:59:59, 9 days before the night of {night}; late.window_days is 7"
    assert expected in {first["detail"], second["detail"]}


@pytest.mark.parametrize(
    ("other", "together"),
    [("app", False), ("app", True), ("a source with a name longer than the log keeps", False)],
)
def test_the_nights_of_a_source_are_known_however_its_rows_lie_in_files(
    tmp_path: Path, other: str, together: bool
) -> None:
    lake, found = Lake(tmp_path), set()
    for source, night in (("shop", D), ("shop", DAYS[2]), (other, DAYS[1])):
        of_file = {"source": source, "raw": "{}", "file": "f", "file_modified_at": READ, "ingested_at": READ}
        of_file |= {"lines": None, "problem": None, "file_summary": None}
        lake.append(BRONZE_EVENTS, [of_file | {"row_id": f"{n}" * 64, "night": night} for n in range(2)])
        found.add((source, night))
    if together:
        lake.open(BRONZE_EVENTS).optimize.compact()
    assert source_nights(lake, lake.version(BRONZE_EVENTS)) == found
