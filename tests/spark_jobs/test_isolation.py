"""isolation.py: whatever a value does to an expression, its row is in quarantine and the others go on."""

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS
from spark_jobs import silver_interactions
from tests.spark_jobs.small_project import EVENTS_ONLY, Row, bronze, event, project

OVERFLOW = "a" * 200_000  # deeper than Java's stack for a regular expression with a group that repeats
Case = tuple[
    str, str, Any, Any
]  # a column's expression over the field `text`, the field's type, a good and a bad value
CASES: dict[str, dict[str, Case]] = {
    "first": {
        "occurred_at": ("timestamp_millis(text)", "bigint", 1709287200000, 1709287200000000000),
        "value": ("IF('abc' RLIKE text, 1, 2)", "string", "b", "a("),
        "user_id": ("decode(encode('u', 'utf-8'), text)", "string", "utf-8", "utf-99"),
        "item_id": ("date_format(TIMESTAMP '2024-01-01', text)", "string", "yyyy", "QQQQQQQ"),
        "event": ("IF(text = 'x', raise_error(text), 'view')", "string", "1", "x"),
    },
    "second": {
        "occurred_at": ("timestamp_seconds(CAST(text AS DECIMAL(38, 9)))", "string", "1709287200", "9" * 25),
        "value": ("element_at(array(1.0), CAST(text AS INT))", "string", "1", "0"),
        "user_id": ("CAST(to_number(text, '999') AS STRING)", "string", "123", "abc"),
        "item_id": ("substr(regexp_replace(text, '(a|b)*c', ''), 1, 5)", "string", "item", OVERFLOW),
    },
}
SOURCE = """
[[sources]]
name = "{name}"
kind = "events"
path = "landing"
format = "json"
rules = [{{ name = "declared", when = "bot", then = "skip" }}]
[sources.fields]
bot = "boolean"
{fields}
[sources.columns]
{columns}
"""


def section(name: str, cases: dict[str, Case]) -> str:
    """A source with a field for each column, so that each row can have one bad value."""
    fields = "".join(f"of_{column} = '{type}'\n" for column, (_, type, _, _) in cases.items())
    columns = {column: sql.replace("text", f"of_{column}") for column, (sql, _, _, _) in cases.items()}
    columns = {"event": "'view'"} | columns
    made = "".join(f'{column} = """{sql}"""\n' for column, sql in columns.items())
    return SOURCE.format(name=name, fields=fields, columns=made)


def good_record(cases: dict[str, Case], **changed: Any) -> Row:
    return {f"of_{column}": value for column, (_, _, value, _) in cases.items()} | changed


def test_a_value_on_which_an_expression_fails_costs_its_row_alone(
    spark: SparkSession, tmp_path: Path, quick: None
) -> None:
    start, end = EVENTS_ONLY.index("[[sources]]"), EVENTS_ONLY.index("[[signals]]")
    sections = "".join(section(name, cases) for name, cases in CASES.items())
    at = project(tmp_path, spark, EVENTS_ONLY[:start] + sections + EVENTS_ONLY[end:])
    records, expected = [], {}
    for name, cases in CASES.items():
        records += [bronze(good_record(cases, n=n), name) for n in range(5)]
        for column, (sql, _, _, bad) in cases.items():
            changed = {f"of_{column}": bad}
            records += [
                bronze(good_record(cases, **changed), name),
                bronze(good_record(cases, bot=True, **changed), name),
            ]
            expected[records[-2]["row_id"]] = (
                f"column {column}: Spark cannot compute",
                sql.split("text")[0],
                str(bad)[:50],
            )
    at.append(BRONZE_EVENTS, records)
    counts = at.run(silver_interactions.main)
    assert (counts["read"], counts["inserted"], counts["skipped"], counts["duplicates"]) == (28, 10, 9, 0)
    bad_rows = {row["row_id"]: row for row in at.rows(QUARANTINE_ROWS)}
    assert bad_rows.keys() == expected.keys()
    for row_id, words in expected.items():
        assert bad_rows[row_id]["reason"] == "impossible_value"
        assert [word for word in words if word not in bad_rows[row_id]["detail"]] == []


def test_nanoseconds_among_milliseconds_cost_their_row_alone(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = EVENTS_ONLY.replace('at = "timestamp"', 'at = "bigint"').replace('= "at"', '= "timestamp_millis(at)"')
    at = project(tmp_path, spark, toml)
    times = [1709287200000, 1709287200000000000, 1709287200001]
    at.ingest(*(event(n, at=time) for n, time in enumerate(times)), file="a")
    at.run(silver_interactions.main)
    assert [row["event_id"] for row in at.rows(INTERACTIONS, "event_id")] == ["e0", "e2"]
    (row,) = at.rows(QUARANTINE_ROWS)
    assert (row["source"], row["reason"]) == ("ratings", "impossible_value")
    assert row["detail"] == (
        "column occurred_at: Spark cannot compute timestamp_millis(at), at is '1709287200000000000'"
    )
    assert "warning: ArithmeticException: long overflow: the rows on which Spark fails" in capsys.readouterr().err
