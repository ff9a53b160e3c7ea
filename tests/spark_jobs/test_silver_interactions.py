"""silver.interactions: garbage and dirt to quarantine, one row per event, and every row accounted for."""

import gzip
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS
from spark_jobs import bronze, silver_interactions
from tests.spark_jobs.small_project import EVENTS_ONLY, NEXT, READ, D, Project, Row, event, project

DIRT: list[tuple[str, Row | str]] = [
    ("unreadable", "\\x00 this is no json"),
    ("unreadable", "{"),
    ("missing", event(92, user_id=None)),
    ("type", event(93, value="five")),
    ("unknown_event", event(94, event="teleport")),
    ("impossible_value", event(95, value=6)),
    ("impossible_value", event(96, value=None)),
    ("impossible_value", event(97, event="view", value="NaN")),
    ("impossible_value", event(98, at="1970-01-01T00:00:00Z")),
    ("clock_ahead", event(99, at="2098-01-01T00:00:00Z")),
]


def clean(at: Project, day: date = D) -> dict[str, int]:
    return at.run(silver_interactions.main, day=day)


def accounted(at: Project, counts: dict[str, int]) -> bool:
    """Check that the stage's counts are those of the tables."""
    used = sum(counts[what] for what in ("inserted", "updated", "duplicates", "quarantined", "skipped"))
    assert counts["inserted"] == len(at.rows(INTERACTIONS))
    assert counts["quarantined"] == len(at.rows(QUARANTINE_ROWS))
    return counts["read"] == used == len(at.rows(BRONZE_EVENTS))


def test_each_bad_row_is_in_quarantine_with_its_reason_and_the_good_ones_go_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.land(
        "events/a.jsonl.gz", [event(1), *(raw for _, raw in DIRT), event(2, value=3), event(3, event="view", value=...)]
    )
    (tmp_path / "landing/events/garbage.jsonl").write_bytes(bytes(range(256)))
    (tmp_path / "landing/events/broken.jsonl.gz").write_bytes(gzip.compress(b"no record")[:10])
    counts = at.run(bronze.main, silver_interactions.main)
    assert {(row["event_id"], row["weight"]) for row in at.rows(INTERACTIONS)} == {
        ("e1", 1.0),
        ("e2", 0.0),
        ("e3", 0.2),
    }
    bad = at.rows(QUARANTINE_ROWS)
    found = sorted(row["reason"] for row in bad if row["file"].endswith("a.jsonl.gz"))
    assert found == sorted(reason for reason, _ in DIRT)
    assert {row["reason"] for row in bad if not row["file"].endswith("a.jsonl.gz")} == {"unreadable"}
    assert any("file damaged after 0 records" in row["raw"] for row in bad)
    assert accounted(at, counts)


def test_the_same_event_delivered_again_counts_once_in_whatever_file_and_night(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.ingest(event(1), event(1), "junk", "junk", event(2), file="a")
    at.ingest(event(1, value=1), file="later", file_modified_at=READ)
    first = clean(at)
    assert (first["inserted"], first["quarantined"], first["duplicates"]) == (2, 1, 3)
    assert accounted(at, first)
    at.ingest(event(2), event(3), file="b")
    second = clean(at, day=NEXT)
    assert (second["read"], second["inserted"], second["duplicates"]) == (2, 1, 1)
    assert [row["value"] for row in at.rows(INTERACTIONS, "value")] == [5.0, 5.0, 5.0]


def test_where_the_sender_gives_no_id_the_same_line_under_another_name_counts_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    line = event(1, event_id=...)
    at.ingest(line, event(1, event_id=..., value=4), file="a")
    at.ingest(dict(reversed(line.items())), file="copy-of-a")
    counts = clean(at)
    assert (counts["inserted"], counts["duplicates"]) == (2, 1)


def test_a_night_run_again_finds_nothing_new_and_changes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.ingest(event(1), "junk", file="a")
    clean(at)
    tables = (BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS)
    before = [(at.rows(table), at.night().lake.version(table)) for table in tables]
    counts = clean(at)
    assert (counts["read"], counts["inserted"], counts["quarantined"]) == (0, 0, 0)
    assert [(at.rows(table), at.night().lake.version(table)) for table in tables] == before


def test_a_night_that_was_cleaned_late_is_caught_up_by_the_next(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.ingest(event(1), file="a")
    clean(at)
    at.ingest(event(2), file="b")  # and silver never came that night
    at.ingest(event(3), "junk", file="c")
    counts = clean(at, day=NEXT)
    assert (counts["read"], counts["inserted"], counts["quarantined"]) == (3, 2, 1)


def test_undeclared_fields_are_stored_and_reported(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.ingest(event(1, trace="t", more=1), event(2), file="a")
    night = at.night()
    silver_interactions.main(night)
    assert (night.counts["rescued"], night.tags) == (1, {"rescued:ratings": "more, trace"})
    assert at.rows(INTERACTIONS, "rescued") == [{"rescued": None}, {"rescued": [("trace", "t"), ("more", "1")]}]
