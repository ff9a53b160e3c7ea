"""[[aliases]]: what was done to an item under an old id counts for its last name, before the file came and after."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from expectations.reconciliation import reconcile
from nightloom.contracts import BRONZE_ITEMS, GATES, INTERACTIONS, ITEM_DAYS, ITEMS, REOPENINGS
from nightloom.errors import SettingsError
from nightloom.settings.aliases import read_aliases
from spark_jobs import gold_item_days, silver_interactions, silver_items
from tests.spark_jobs.small_project import NEXT, TOML, bronze, event, project

SILVER = (silver_items.main, silver_interactions.main)


def test_what_is_there_and_what_comes_counts_for_the_last_name(
    spark: SparkSession, quick: None, tmp_path: Path
) -> None:
    (tmp_path / "renamed.csv").write_text("old,new\n")
    at = project(tmp_path, spark, f'{TOML}\n[[aliases]]\npath = "renamed.csv"\n')
    at.ingest(event(1, item_id="lamp"), event(2, item_id="lamp-2"), event(3, item_id="chair"), file="a")
    at.ingest({"item_id": "lamp", "title": "Lamp"}, {"item_id": "chair"}, kind="items", file="a")
    at.run(*SILVER, gold_item_days.main)
    for kind in ("events", "items"):
        at.night().lake.mark_consumed(reconcile(at.night(), kind)[1], GATES)
    (tmp_path / "renamed.csv").write_text("old,new\nlamp,lamp-2\nlamp-2,lamp-3\n\n")
    at.append(BRONZE_ITEMS, [bronze({"item_id": "lamp-2", "title": "New lamp"}, "catalogue", file="b")])
    at.ingest(event(4, item_id="lamp"), file="b")
    counts = at.run(*SILVER, gold_item_days.main, day=NEXT)
    assert counts["renamed"] == 2
    expected = ["chair", "lamp-3", "lamp-3", "lamp-3"]
    assert sorted(row["item_id"] for row in at.rows(INTERACTIONS)) == expected
    assert {row["item_id"]: row["events"] for row in at.rows(ITEM_DAYS)} == {"chair": 1, "lamp-3": 3}
    assert [(row["period"].day, row["rows"] > 0) for row in at.rows(REOPENINGS)] == [(1, True)]
    described = {row["item_id"]: (row["title"], row["available"]) for row in at.rows(ITEMS)}
    assert described == {"chair": ("chair", True), "lamp": ("Lamp", False), "lamp-3": ("New lamp", True)}
    for kind in ("events", "items"):
        (check, *_), _ = reconcile(at.night(), kind)
        assert check.passed, check.observed
    versions = [at.night().lake.version(table) for table in (INTERACTIONS, ITEMS)]
    at.run(*SILVER, day=NEXT)  # nothing is left to rename
    assert [at.night().lake.version(table) for table in (INTERACTIONS, ITEMS)] == versions
    at.run(*SILVER, day=NEXT, everything=True)
    assert sorted(row["item_id"] for row in at.rows(INTERACTIONS)) == expected
    assert {row["item_id"] for row in at.rows(ITEMS)} == {"chair", "lamp-3"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the first line is '', expected 'old,new'"),
        ("from,to\na,b\n", "the first line is 'from,to', expected 'old,new'"),
        ("old,new\na,b\nb\n", r"line 3: found \['b'\], expected two ids"),
        ("old,new\na,\n", "line 2: found .* expected two ids"),
        ("old,new\na,b\na,c\n", "line 3: 'a' is 'c' here and 'b' before"),
        ("old,new\na,b\nb,c\nc,a\n", "a -> b -> c -> a is a circle"),
        ("old,new\na,a\n", "a -> a is a circle"),
    ],
)
def test_a_file_of_aliases_that_cannot_be_used_is_an_error_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_aliases({"a.csv": tmp_path / "a.csv"})
    with pytest.raises(SettingsError, match=r"aliases, b\.csv: cannot be read"):
        read_aliases({"b.csv": tmp_path / "b.csv"})


def test_a_byte_order_mark_is_no_part_of_the_header_and_quotes_hold_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffold,new\r\n"a,1",b\r\nc,"a,1"\r\n', encoding="utf8")
    assert read_aliases({"a.csv": tmp_path / "a.csv"}) == {"a,1": "b", "c": "b"}
