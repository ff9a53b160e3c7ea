"""parsed.py: each row gets the first reason that fits, and a good one our columns."""

from typing import Any

import pytest
from pyspark.sql import SparkSession

from nightloom.errors import SettingsError
from nightloom.settings import Source
from spark_jobs.parsing import parse, with_verdict
from spark_jobs.silver_interactions import TYPES
from tests.spark_jobs.small_project import Row, bronze, event, frame, source

CANCELLED = {"name": "cancelled", "when": "item_id LIKE 'C%'", "then": "quarantine"}
NO_USER = {"name": "no_user", "when": "user_id IS NULL", "then": "skip"}


def verdicts(spark: SparkSession, raws: list[Row | str], *sources: Source) -> list[Any]:
    rows = frame(spark, [bronze(raw, file=f"{n:03}") for n, raw in enumerate(raws)])
    return with_verdict(parse(rows, sources or (source(),), TYPES)).orderBy("file").collect()


def test_each_kind_of_bad_row_gets_its_own_reason_and_the_good_ones_go_on(spark: SparkSession) -> None:
    bad: list[tuple[Row | str, str, str]] = [
        ("}{ garbage", "unreadable", "not a record of a json source"),
        ("[1, 2]", "unreadable", "not a record"),
        ("null", "unreadable", "not a record"),
        (event(value="many"), "type", "field value is 'many', expected double"),
        (event(at="last night"), "type", "field at is 'last night', expected timestamp"),
        (event(user_id=None), "missing", "user_id is empty"),
        (event(user_id=""), "missing", "user_id is empty"),
        (event(item_id=...), "missing", "item_id is empty"),
        (event(at=None), "missing", "occurred_at is empty; it is made of: at"),
    ]
    found = verdicts(spark, [*(raw for raw, _, _ in bad), event()])
    for row, (raw, reason, detail) in zip(found, bad, strict=False):
        assert (row.verdict.outcome, row.verdict.reason) == ("quarantine", reason), raw
        assert detail in row.verdict.detail
    assert found[-1].verdict.outcome == "good"
    assert (found[-1].user_id, found[-1].event, found[-1].value) == ("u1", "rating", 5.0)


def test_a_declared_rule_names_the_reason_before_anything_else_does(spark: SparkSession) -> None:
    cancelled, nobody, unreadable = verdicts(
        spark,
        [event(item_id="C1", user_id=None, value="x"), event(user_id=None), "?"],
        source(rules=[CANCELLED, NO_USER]),
    )
    assert tuple(cancelled.verdict)[:2] == ("quarantine", "cancelled")
    assert tuple(nobody.verdict)[:2] == ("skip", "no_user")
    assert unreadable.verdict.reason == "unreadable"


def test_a_field_that_nobody_declared_is_rescued(spark: SparkSession) -> None:
    plain, strange = verdicts(spark, [event(event_id=..., event=...), event(event_id=..., event=..., trace={"a": 1})])
    assert plain.rescued is None
    assert strange.rescued == {"trace": '{"a":1}'}
    assert strange.verdict.outcome == "good"


def test_a_field_may_have_any_name_and_a_user_id_may_be_any_text(spark: SparkSession) -> None:
    name, user = "user's \\ id", "o'brien \\"
    odd = source(fields=source().fields | {name: "string"}, columns=source().columns | {"user_id": f"`{name}`"})
    (row,) = verdicts(spark, [event(event_id=..., event=...) | {name: user}], odd)
    assert (row.verdict.outcome, row.user_id, row.rescued) == ("good", user, None)


def test_an_empty_csv_field_is_no_value(spark: SparkSession) -> None:
    (row,) = verdicts(spark, [event(user_id="", value="")], source(format="csv", rules=[NO_USER]))
    assert (row.verdict.reason, row.value) == ("no_user", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": source().columns | {"value": "valeu * 2"}}, "columns.value: Spark cannot make"),
        ({"columns": source().columns | {"user_id": "upper("}}, "columns.user_id"),
        ({"fields": source().fields | {"at": "timestmap"}}, "fields.at"),
        ({"rules": [CANCELLED | {"when": "Status = 1"}]}, "rules.cancelled"),
    ],
)
def test_an_expression_that_spark_does_not_understand_is_named(
    spark: SparkSession, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=r"source 'ratings', .*The fields are user_id, item_id, value, at") as error:
        verdicts(spark, [event()], source(**changes))
    assert message in str(error.value)


def test_an_expression_that_fails_on_one_value_costs_one_row_and_not_the_night(spark: SparkSession) -> None:
    dated = source(
        fields=source().fields | {"at": "string"},
        columns=source().columns | {"occurred_at": "to_timestamp(at, 'd.M.y')"},
    )
    bad, good = verdicts(spark, [event(at="soon"), event(at="1.3.2024")], dated)
    assert (bad.verdict.reason, good.verdict.outcome) == ("missing", "good")


LOOSE = source(
    fields=source().fields | {"at": "string", "value": "string", "tags": "array<int>"},
    rules=[
        {"name": "bot", "when": "user_id = 'bot'", "then": "skip"},
        {"name": "test", "when": "tags[0] = 0 OR value = 't'", "then": "quarantine"},
    ],
)


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"value": "many"}, "type", "column value is 'many', expected double"),
        ({"value": ""}, "", ""),
        ({"value": None}, "", ""),
        ({"value": "t"}, "test", "rule: tags[0]"),
        ({"at": "out of date"}, "type", "column occurred_at is 'out of date', expected timestamp"),
        ({"at": ""}, "missing", "occurred_at is empty"),
        ({"at": "10:30"}, "type", "column occurred_at is '10:30', a time without a date"),
        ({"at": "T10:30"}, "type", "column occurred_at is 'T10:30', a time without a date"),
        ({"at": "\t9:05:10.5+01:00"}, "type", "a time without a date"),
        ({"at": "now"}, "type", "column occurred_at is 'now', expected timestamp"),
        ({"at": "today"}, "type", "column occurred_at is 'today', expected timestamp"),
        ({"at": "+12024-03-01"}, "impossible_value", "expected the years 1 to 9999"),
        ({"at": "-0044-03-15"}, "impossible_value", "expected the years 1 to 9999"),
        ({"at": "2024-03-01"}, "", ""),
        ({"tags": [1, "x"]}, "type", "field tags is '[1,\"x\"]', expected array<int>"),
        ({"tags": "1]"}, "type", "field tags is '1]', expected array<int>"),
        ({"tags": [1, None]}, "", ""),
        ({"user_id": "bot", "value": "many"}, "bot", "rule: user_id = 'bot'"),
    ],
)
def test_what_the_type_of_a_column_refuses_is_a_fault_of_the_row(
    spark: SparkSession, quick: None, changes: Row, reason: str, detail: str
) -> None:
    rows = frame(spark, [bronze(event(event_id=..., event=..., value="1") | changes)])
    found = with_verdict(parse(rows, [LOOSE], TYPES)).select("verdict").first()  # Python holds no time after 9999
    assert found is not None
    assert (found.verdict.reason, found.verdict.outcome == "good") == (reason, not reason)
    assert detail in found.verdict.detail


@pytest.mark.parametrize(
    ("sql", "texts", "refused"),
    [
        ("CAST(text AS DOUBLE)", ["n/a", "1.5", "", None], ["n/a"]),
        ("cast(replace(text, ' as ', '') AS int)", ["1 as 2", "x as y"], ["xy"]),
        ("int(regexp_extract(text, '(\\\\d*)$'))", ["no 7", "no"], []),
        ("DOUBLE(text)", ["n/a", "1"], ["n/a"]),
        ("unix_timestamp(to_date(text, 'd.M.y'))", ["soon", "1.3.2024"], []),
        ("TRY_CAST(text AS DOUBLE)", ["n/a"], []),
        ("CAST(IF(event = 'x', text, NULL) AS DOUBLE)", ["n/a"], []),
        ("CAST(text AS INT) + CAST(text AS INT)", ["n/a", "1"], []),
    ],
)
def test_what_a_cast_that_is_the_whole_expression_refuses_is_a_fault_too(
    spark: SparkSession, quick: None, sql: str, texts: list[str | None], refused: list[str]
) -> None:
    own = source(
        fields=source().fields | {"event": "string", "text": "string"}, columns=source().columns | {"value": sql}
    )
    found = [row.verdict for row in verdicts(spark, [event(event_id=..., text=text) for text in texts], own)]
    bad = [verdict for verdict in found if verdict.outcome != "good"]
    assert [verdict.detail for verdict in bad] == [
        f"column value is '{text}', which {sql} does not take" for text in refused
    ]


def test_a_time_without_a_date_is_no_timestamp_in_a_field_and_in_any_expression(
    spark: SparkSession, quick: None
) -> None:
    raws: list[Row | str] = [event(event_id=..., event=..., at=at, day="2024-03-01") for at in ("10:30", "2024-03-01")]
    fields = source().fields | {"at": "string", "day": "string"}
    for sql, reasons in {
        "to_timestamp(at)": ["type", ""],
        "CAST(at AS TIMESTAMP)": ["type", ""],
        "coalesce(try_to_timestamp(concat(day, ' ', at)), to_timestamp(day))": ["", ""],
    }.items():
        timed = source(fields=fields, columns=source().columns | {"occurred_at": sql})
        assert [row.verdict.reason for row in verdicts(spark, raws, timed)] == reasons, sql
    assert [row.verdict.reason for row in verdicts(spark, raws)] == ["type", ""]
    nested = source(fields=fields | {"at": "array<timestamp>"}, columns=source().columns | {"occurred_at": "at[0]"})
    lists: list[Row | str] = [event(event_id=..., event=..., at=[at]) for at in ("10:30", "2024-03-01")]
    assert [row.verdict.reason for row in verdicts(spark, lists, nested)] == ["type", ""]


def test_a_rule_on_a_field_protects_the_expressions_over_it(spark: SparkSession, quick: None) -> None:
    own = source(
        format="csv",
        fields=source().fields | {"at": "bigint"},
        columns=source().columns | {"occurred_at": "timestamp_millis(at)"},
        rules=[{"name": "not_ms", "when": "at > 4102444800000", "then": "quarantine"}],
    )
    nanoseconds, milliseconds = verdicts(
        spark, [event(event_id=..., event=..., at=str(at)) for at in (1709287200000000000, 1709287200000)], own
    )
    assert (nanoseconds.verdict.reason, nanoseconds.verdict.detail) == ("not_ms", "rule: at > 4102444800000")
    assert milliseconds.verdict.outcome == "good"


def test_rows_of_a_source_that_was_removed_from_the_settings_are_not_lost(spark: SparkSession) -> None:
    (row,) = verdicts(spark, [event()], source(name="clicks"))
    assert row.verdict.detail == "its source is not in nightloom.toml any more"


def test_a_key_that_comes_twice_in_one_record_does_not_end_the_night(spark: SparkSession) -> None:
    (row,) = verdicts(spark, ['{"user_id": "a", "user_id": "b", "item_id": "i", "at": "2024-03-01", "x": 1, "x": 2}'])
    assert (row.verdict.outcome, row.user_id) == ("good", "a")
