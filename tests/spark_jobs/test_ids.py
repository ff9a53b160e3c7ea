"""Ids in the one spelling that a source declares; what stands for no id is a missing value, in Spark and in the API."""

import tomllib
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession

from expectations.spellings import SPELLINGS
from nightloom.contracts import INTERACTIONS
from nightloom.settings.ids import BLANKS, Ids
from spark_jobs import silver_interactions
from spark_jobs.parsing import parse, with_verdict
from spark_jobs.silver_interactions import TYPES
from tests.spark_jobs.small_project import EVENTS_ONLY, Row, bronze, event, frame, project, source

pytestmark = pytest.mark.usefixtures("quick")
TEXTS = [
    "a1", "A1", " a1", f"\t{BLANKS}A1\ufeff", "a 1", "0042", "000", "0", "0A7", "00-5", "12001.0", "-3.00", "1.50",
    "0.0", "007.0", "v1.0", "1.0.0", "Straße", "İD", "ΣΑΣ", "", " ", "\u00a0", "NULL", "null ", "nan", "None", "n/a",
    "<NA>", "\\N", "undefined", "NULLA", "0x0", "guest",
]  # fmt: skip
ALL = {"trim": True, "drop_point_zero": True, "drop_leading_zeros": True}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (Ids(), {" a1": " a1", "0042": "0042", "12001.0": "12001.0", "A1": "A1"}),
        (Ids(trim=True), {" a1": "a1", "a 1": "a 1", f"\t{BLANKS}A1\ufeff": "A1"}),
        (Ids(drop_point_zero=True), {"12001.0": "12001", "-3.00": "-3", "1.50": "1.50", "v1.0": "v1.0", "0.0": "0"}),
        (Ids(drop_leading_zeros=True), {"0042": "42", "000": "0", "0": "0", "0A7": "A7", "00-5": "0-5"}),
        (Ids(case="lower", **ALL), {f"\t{BLANKS}A1\ufeff": "a1", "007.0": "7", "NULLA": "nulla"}),
        (Ids(case="upper", missing=("Guest ",)), {"Straße": "STRASSE", "NULL": "NULL", "guest": None, "nan": "NAN"}),
    ],
)
def test_an_id_has_one_spelling_the_same_in_spark_and_in_python(
    spark: SparkSession, ids: Ids, expected: dict[str, str | None]
) -> None:
    own = source(ids=ids.model_dump())
    rows = frame(spark, [bronze(event(n, item_id=text)) for n, text in enumerate(TEXTS)])
    found = (
        parse(rows, [own], TYPES).selectExpr("from_json(raw, 'item_id string').item_id AS given", "item_id").collect()
    )
    by_spark = {row.given: row.item_id for row in found}
    assert by_spark == {text: ids.normalize(text) for text in TEXTS}
    assert by_spark | expected == by_spark
    assert all(by_spark[blank] is None for blank in ("", " ", "\u00a0"))


@pytest.mark.parametrize("key", SPELLINGS)
def test_the_hint_of_gate_1_spells_as_the_night_does(key: str) -> None:
    ids = Ids(missing=(), **tomllib.loads(key))
    # Outside ASCII, lower case has variants.
    texts = [text for text in TEXTS if text.strip(BLANKS) and (ids.case is None or text.isascii())]
    spelled = f"SELECT {SPELLINGS[key].format(id='id')} FROM (SELECT unnest($1) AS id)"
    assert [made for (made,) in duckdb.execute(spelled, [texts]).fetchall()] == [ids.normalize(text) for text in texts]


def test_an_id_that_is_none_sends_its_row_to_quarantine_with_what_was_found(spark: SparkSession) -> None:
    raws: list[Row] = [event(1, user_id="NULL"), event(2, item_id=" nan"), event(3, user_id="  "), event(4, user_id=5)]
    parsed = parse(frame(spark, map(bronze, raws)), [source()], TYPES)
    null, nan, blank, number = [row.verdict for row in with_verdict(parsed).select("verdict").collect()]
    assert (null.reason, null.detail) == (
        "missing", "user_id is 'NULL', which is no id (ids.missing); it is made of: user_id"
    )  # fmt: skip
    assert "item_id is ' nan', which is no id" in nan.detail
    assert (blank.reason, blank.detail) == ("missing", "user_id is empty; it is made of: user_id")
    assert number.outcome == "good"


def test_events_whose_event_id_is_none_are_not_one_event(spark: SparkSession, tmp_path: Path) -> None:
    at = project(
        tmp_path, spark, EVENTS_ONLY.replace('format = "json"', 'format = "json"\nids = { case = "lower" }', 1)
    )
    at.ingest(event(1, event_id="NULL"), event(2, event_id="NULL"), event(3, event_id="E3"))
    counts = at.run(silver_interactions.main)
    assert (counts["inserted"], counts["duplicates"]) == (3, 0)
    assert "E3" in [row["event_id"] for row in at.rows(INTERACTIONS)]
