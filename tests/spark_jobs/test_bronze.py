"""bronze.*: each file lands exactly once, as it came."""

import csv
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, BRONZE_ITEMS, ITEMS, RECOMMENDATIONS
from nightloom.errors import DataError, SettingsError
from nightloom.places import folder_of
from spark_jobs import bronze, bronze_files, landing, silver_items
from spark_jobs.folder_retention import trim_folders
from tests.spark_jobs.small_project import EVENTS_ONLY, NEXT, READ, D, Project, Row, event, project

BY_SPARK = -1
"""As FEW_BYTES: every file is too large for the stage's own process."""


def test_each_file_is_read_once_also_one_that_is_older_than_those_before(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.land("events/a.jsonl.gz", [event(1), "junk"])
    assert at.run(bronze.main)["ratings"] == 2
    assert at.run(bronze.main)["ratings"] == 0
    (tmp_path / "landing/events/2023").mkdir()
    late = at.land("events/2023/late.jsonl", [event(2)])
    os.utime(late, (0, 0))
    at.land("events/.unfinished.jsonl", [event(3)])
    assert at.run(bronze.main, day=NEXT)["ratings"] == 1
    rows = at.rows(BRONZE_EVENTS, "file", "night", "raw")
    assert {(row["file"], row["night"]) for row in rows} == {
        ("landing/events/a.jsonl.gz", D),
        ("landing/events/2023/late.jsonl", NEXT),
    }
    assert "junk" in [row["raw"] for row in rows]


def test_a_listing_forgets_files_that_are_gone_and_the_stream_goes_on(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    for name in "abc":
        os.utime(at.land(f"events/{name}.jsonl", [event(ord(name))]), (0, 0))
    at.run(bronze.main)
    for name in "ab":
        (tmp_path / f"landing/events/{name}.jsonl").unlink()
    young = at.land("events/young.jsonl", [event(1)])
    at.run(bronze.main)
    young.unlink()
    assert len(list(trim_folders(at.night()))) == 1
    assert list(trim_folders(at.night())) == []
    listing = bronze.listing_of(at.night(), at.settings.sources[0])
    assert [row["file"][-8:] for row in landing.listed_files(listing)] == ["/c.jsonl", "ng.jsonl"]
    at.land("events/d.jsonl", [event(2)])
    assert at.run(bronze.main)["ratings"] == 1
    os.utime(at.land("events/a.jsonl", [event(3)]), (0, 0))
    assert at.run(bronze.main, day=NEXT)["ratings"] == 1


@pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
def test_fetched_models_and_unfinished_trainings_that_nobody_uses_are_removed(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    lists = {"user_id": "u", "items": ["i"], "scores": [1.0], "model_version": "2", "generated_at": READ}
    at.night().lake.append(RECOMMENDATIONS, [lists | {"night": D, "full_night": D}])
    home = folder_of(at.settings.place("home"))
    folders = ["models/1-aaaa", "models/2-bbbb", "models/.fetch-cut", "training/2024-03-01-als-x", "training/new"]
    for name in folders:
        (home / name).mkdir(parents=True)
        if name != "training/new":
            os.utime(home / name, (0, 0))
    assert len(list(trim_folders(at.night()))) == 3
    assert [name for name in folders if (home / name).exists()] == ["models/2-bbbb", "training/new"]


def test_a_missing_landing_folder_is_a_clear_error(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    (tmp_path / "landing/users").rmdir()
    with pytest.raises(SettingsError, match=r"source 'members': there is no folder .*landing/users; create it"):
        at.run(bronze.main)


def test_a_file_of_events_that_has_grown_brings_what_is_new_in_it(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    at.land("events/a.jsonl", [event(1), event(2)])
    at.land("events/b.jsonl", [event(2)])
    assert at.run(bronze.main)["ratings"] == 3
    at.land("events/a.jsonl", [event(1), event(2), event(3), event(4)])
    at.land("events/c.jsonl", [event(5)])
    assert at.run(bronze.main, day=NEXT)["ratings"] == 3
    at.land("events/a.jsonl", [event(1), event(2), event(3), event(4)])  # a copy: its time is another
    os.utime(tmp_path / "landing/events/a.jsonl", (0, 0))
    assert at.run(bronze.main, day=NEXT)["ratings"] == 0
    found = [(row["file"][-7], json.loads(row["raw"])["event_id"]) for row in at.rows(BRONZE_EVENTS)]
    assert sorted(found) == [("a", f"e{n}") for n in (1, 2, 3, 4)] + [("b", "e2"), ("c", "e5")]


def test_a_rewritten_catalogue_counts_completely_so_that_an_old_state_can_return(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark)
    for second, title in enumerate(("old", "new", "old")):
        file = at.land("items/all.jsonl", [{"item_id": "i1", "title": title}, {"item_id": "i2", "title": "same"}])
        os.utime(file, (0, 1_000_000 + second))
        at.run(bronze.main, silver_items.main)
        assert at.rows(ITEMS, "item_id", "title") == [
            {"item_id": "i1", "title": title},
            {"item_id": "i2", "title": "same"},
        ]


def test_a_project_that_has_moved_takes_nothing_twice(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    at = project(tmp_path / "here", spark, EVENTS_ONLY)
    at.land("events/a.jsonl", [event(1)])
    assert at.run(bronze.main)["ratings"] == 1
    (tmp_path / "here").rename(tmp_path / "there")
    moved = project(tmp_path / "there", spark, EVENTS_ONLY)
    moved.land("events/b.jsonl", [event(2)])
    assert moved.run(bronze.main)["ratings"] == 1
    assert [row["file"] for row in moved.rows(BRONZE_EVENTS)] == ["landing/events/a.jsonl", "landing/events/b.jsonl"]


def test_a_file_that_disappears_before_it_is_read_becomes_a_record(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    file = at.land("events/a.jsonl", [event(1)])
    landing.update_listing(
        at.settings.sources[0], tmp_path, at.night().lake.root / "_checkpoints" / "ratings" / "files"
    )
    file.unlink()
    at.run(bronze.main)
    assert "No such file" in at.rows(BRONZE_EVENTS, "raw")[0]["raw"]


def test_an_unreadable_file_is_named_and_ingested_once_it_is_readable(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    file = at.land("events/a.jsonl", [event(1)])
    landing.update_listing(
        at.settings.sources[0], tmp_path, at.night().lake.root / "_checkpoints" / "ratings" / "files"
    )
    file.unlink()
    file.mkdir()  # as a missing permission, which a test that runs as root cannot have
    with pytest.raises(DataError, match=r"source 'ratings': .*Is a directory: .*a.jsonl.*; mend that and run again"):
        at.run(bronze.main)
    file.rmdir()
    at.land("events/a.jsonl", [event(1), event(2)])
    assert at.run(bronze.main)["ratings"] == 2


def test_csv_files_of_another_header_are_read_by_their_own(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY.replace('format = "json"', 'format = "csv"', 1))
    for name, header in {"a.csv": ["user_id", "item_id"], "b.csv": ["item_id", "note", "user_id"]}.items():
        with (tmp_path / "landing/events" / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, [f"{field}, 1" for field in header]])
    at.run(bronze.main)
    assert [json.loads(row["raw"])["user_id"] for row in at.rows(BRONZE_EVENTS, "raw")] == ["user_id, 1", "user_id, 1"]


def land_three_days(at: Project) -> list[list[list[Row]]]:
    """Land and ingest files of events that grow, and rewritten items -> the rows of each day, without their times."""
    found = list[list[list[Row]]]()
    for day in range(3):
        at.land("events/grows.jsonl", [event(n) for n in range(day + 2)] + ["junk", "junk"])
        at.land(f"events/{day}.jsonl.gz", [event(100 + day, user_id="o'brien | ü")])
        at.land("items/all.jsonl", [{"item_id": "i1", "title": f"title {day % 2}"}])
        for name in ("events/grows.jsonl", "items/all.jsonl"):
            os.utime(at.settings.root / "landing" / name, (0, 1_000_000 + day))
        os.utime(at.settings.root / f"landing/events/{day}.jsonl.gz", (0, 1_000_000))
        at.run(bronze.main)
        columns = [name for name in BRONZE_EVENTS.column_names if name != "ingested_at"]
        found.append([at.rows(table, *columns) for table in (BRONZE_EVENTS, BRONZE_ITEMS)])
    return found


def test_few_bytes_in_this_process_and_many_by_spark_give_the_same_rows(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = land_three_days(project(tmp_path / "few", spark))
    monkeypatch.setattr(bronze_files, "FEW_BYTES", BY_SPARK)
    assert land_three_days(project(tmp_path / "many", spark)) == few
    assert [len(events) for events, _ in few] == [5, 7, 9]  # two equal lines of junk are two records, once


def test_few_bytes_need_no_spark(tmp_path: Path, spark: SparkSession) -> None:
    at = project(tmp_path, spark)
    at.land("events/a.jsonl", [event(1)])
    night = at.night()
    del night.__dict__["spark"]
    bronze.main(night)
    assert night.counts["ratings"] == 1
    assert "spark" not in vars(night)


@pytest.mark.parametrize("few_bytes", [bronze_files.FEW_BYTES, BY_SPARK])
def test_a_stage_that_died_between_listing_and_rows_goes_on_with_the_first_commit_that_is_missing(
    few_bytes: int, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bronze_files, "FEW_BYTES", few_bytes)
    at = project(tmp_path, spark, EVENTS_ONLY)
    (source,) = at.settings.sources
    listing = bronze.listing_of(at.night(), source)
    at.land("events/a.jsonl", [event(1)])
    at.run(bronze.main)
    for name in "bc":
        at.land(f"events/{name}.jsonl", [event(ord(name))])
        landing.update_listing(source, tmp_path, listing)
    c = tmp_path / "landing/events/c.jsonl"
    c.rename(c.with_name(".c"))
    c.mkdir()  # as a missing permission: the second of the two cannot be read
    with pytest.raises(DataError, match="Is a directory"):
        at.run(bronze.main)
    assert [row["file"][-7:] for row in at.rows(BRONZE_EVENTS)] == ["a.jsonl", "b.jsonl"]
    c.rmdir()
    c.with_name(".c").rename(c)
    assert at.run(bronze.main)["ratings"] == 1
    assert at.run(bronze.main)["ratings"] == 0


def test_a_listing_that_was_removed_counts_from_the_start_and_every_file_is_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    for name in "ab":
        at.land(f"events/{name}.jsonl", [event(ord(name))])
        at.run(bronze.main)
    shutil.rmtree(tmp_path / "data/lake/_checkpoints")
    assert at.run(bronze.main)["ratings"] == 2


def test_a_lake_whose_files_a_stream_has_read_takes_only_the_others(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, EVENTS_ONLY)
    (source,) = at.settings.sources
    night = at.night()
    night.lake.create(BRONZE_EVENTS)
    listing = bronze.listing_of(night, source)
    for name in "abc":  # c is empty: no row says that it was read
        file = at.land(f"events/{name}.jsonl", [event(ord(name))] if name != "c" else [])
        landing.update_listing(source, tmp_path, listing)
        modified = pa.scalar(file.stat().st_mtime_ns // 1000, pa.timestamp("us", "UTC")).as_py()
        if name != "c":
            at.ingest(event(ord(name)), file=f"landing/events/{name}.jsonl", file_modified_at=modified)
    (listing.parent / "stream" / "offsets").mkdir(parents=True)
    at.land("events/d.jsonl", [event(4)])
    assert at.run(bronze.main)["ratings"] == 1
    assert not (listing.parent / "stream").exists()
    assert at.run(bronze.main)["ratings"] == 0
    assert len(at.rows(BRONZE_EVENTS)) == 3


def feeds(*names: str) -> str:
    """The small project with sources of events of these names, in folders of their own."""
    start, end = EVENTS_ONLY.index("[[sources]]"), EVENTS_ONLY.index("[[signals]]")
    section = EVENTS_ONLY[start:end]
    sections = (
        section.replace('"ratings"', f'"{name}"').replace("landing/events", f"landing/{name}") for name in names
    )
    return EVENTS_ONLY[:start] + "".join(sections) + EVENTS_ONLY[end:]


def test_sources_of_few_bytes_share_a_commit_and_each_has_its_count(spark: SparkSession, tmp_path: Path) -> None:
    names = [f"feed_{n}" for n in range(5)]
    at = project(tmp_path, spark, feeds(*names))
    at.night().lake.create(BRONZE_EVENTS)
    before = at.night().lake.version(BRONZE_EVENTS)
    for number, name in enumerate(names):
        at.land(f"{name}/a.jsonl", [event(100 * number + n) for n in range(number)])
    counts = at.run(bronze.main)
    assert {name: counts[name] for name in names} == {name: number for number, name in enumerate(names)}
    assert counts["bronze.events"] == 10
    assert at.night().lake.version(BRONZE_EVENTS) == before + 1
    assert at.run(bronze.main)["bronze.events"] == 0
    at.land("feed_3/b.jsonl", [event(1)])
    assert at.run(bronze.main)["feed_3"] == 1


def test_a_source_that_cannot_be_read_keeps_no_other_from_its_rows(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark, feeds("good", "bad", "late"))
    at.land("good/a.jsonl", [event(1)])
    at.land("late/a.jsonl", [event(3)])
    file = at.land("bad/a.jsonl", [event(2)])
    landing.update_listing(at.settings.sources[1], tmp_path, bronze.listing_of(at.night(), at.settings.sources[1]))
    file.unlink()
    file.mkdir()  # as a missing permission
    with pytest.raises(DataError, match=r"source 'bad': .*Is a directory"):
        at.run(bronze.main)
    assert [row["source"] for row in at.rows(BRONZE_EVENTS, "source")] == ["good", "late"]
    file.rmdir()
    at.land("bad/a.jsonl", [event(2)])
    counts = at.run(bronze.main)
    assert (counts["bad"], counts["good"], counts["late"]) == (1, 0, 0)
