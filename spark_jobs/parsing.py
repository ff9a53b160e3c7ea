"""Bronze rows -> the same rows with our columns, the undeclared fields, and a verdict: good, skip, or quarantine.

The first check that a row fails gives its reason. The order: the record is readable; the declared rules; the fields fit
their types; the required columns are there; then the checks of the table's own file. Pure DataFrame -> DataFrame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from nightloom.errors import SettingsError
from nightloom.literals import spark_name, spark_text
from nightloom.settings import SOURCE_COLUMNS, Settings, Source
from spark_jobs.record_checks import broken_id_detail, missing_detail, unreadable_detail

GOOD, SKIP, QUARANTINE = "good", "skip", "quarantine"
MAX_QUOTED = 200  # characters of a bad value that a detail quotes
FAULT = "struct<outcome:string,reason:string,detail:string>"
NESTED = ("array", "map", "struct")


def parse(rows: DataFrame, sources: Sequence[Source], types: Mapping[str, str], undeclared: bool = True) -> DataFrame:
    """Bronze rows of one kind -> bronze columns, `fields`, `rescued`, one column per entry of `types`, `fault`.

    `types` is our column -> Spark type, with `attributes` of map<string,string> where the kind has attributes. `fault`
    is struct(outcome, reason, detail), or null where the row passed all checks so far. `undeclared` means that rows may
    come from sources that nightloom.toml no longer has. Raises SettingsError that names the expression of
    nightloom.toml that Spark does not understand.
    """
    only = len(sources) == 1 and not undeclared
    parts = [
        _parse_source(rows if only else rows.where(F.col("source") == source.name), source, types) for source in sources
    ]
    if undeclared or not sources:
        parts.append(_undeclared_rows(rows, sources, types))
    return reduce(DataFrame.unionByName, parts)


def with_verdict(rows: DataFrame, *checks: Column) -> DataFrame:
    """Replace `fault` and `fields` by `verdict`: the fault, else that of the first failed check, else good.

    A failed check is not null.
    """
    good = _verdict(GOOD, F.lit(""), F.lit(""))
    return rows.withColumn("verdict", F.coalesce("fault", *checks, good)).drop("fault", "fields")


def fault(reason: str, detail: Column | str) -> Column:
    """The verdict that sends a row to quarantine."""
    return _verdict(QUARANTINE, F.lit(reason), F.lit(detail) if isinstance(detail, str) else detail)


def quote_value(value: Column) -> Column:
    """A value as a detail quotes it."""
    return F.coalesce(F.concat(F.lit("'"), F.left(value.cast("string"), F.lit(MAX_QUOTED)), F.lit("'")), F.lit("empty"))


def check_clock(time: str, settings: Settings) -> Column:
    """The check of the sender's clock: an event cannot be later than the moment we read it."""
    latest = F.col("ingested_at") + F.expr(f"INTERVAL {settings.late.clock_ahead_minutes} MINUTES")
    detail = F.concat(
        F.lit(f"{time} is "), F.col(time).cast("string"), F.lit(", read at "), F.col("ingested_at").cast("string")
    )
    return F.when(F.col(time) > latest, fault("clock_ahead", detail))


def _undeclared_rows(rows: DataFrame, sources: Sequence[Source], types: Mapping[str, str]) -> DataFrame:
    return rows.where(~F.col("source").isin([source.name for source in sources])).select(
        "*",
        F.lit(None).cast("map<string,string>").alias("fields"),
        F.lit(None).cast("map<string,string>").alias("rescued"),
        *(F.lit(None).cast(type).alias(name) for name, type in types.items()),
        fault("unreadable", "its source is not in nightloom.toml any more").alias("fault"),
    )


def _parse_source(rows: DataFrame, source: Source, types: Mapping[str, str]) -> DataFrame:
    read = rows.select(F.struct("*").alias("_bronze"), _read_fields(source).alias("_fields"))
    fields = {name: ("fields", _cast_sql(name, type)) for name, type in source.fields.items()}
    typed = _select(read, source, ["*"], fields).withColumn("_misfit", _check_types(source))
    # The fields end here: a field and one of our columns may have the same name.
    mapped = _select(typed, source, ["_bronze", "_fields", "_misfit"], _column_sql(source, types) | _rule_sql(source))
    declared = F.array(*map(F.lit, source.fields))
    rescued = F.map_filter("_fields", lambda name, _: ~F.array_contains(declared, name))
    # Both expressions are slow: they run only where a record's fields are not the declared ones in their order.
    expected = F.map_keys("_fields") == declared
    found = F.when(F.size(F.array_except(F.map_keys("_fields"), declared)) > 0, rescued)
    return mapped.select(
        "_bronze.*",
        F.col("_fields").alias("fields"),
        F.when(~expected, found).alias("rescued"),
        *types,
        F.coalesce(*_common_checks(source)).alias("fault"),
    )


def _read_fields(source: Source) -> Column:
    """The record as field -> text; null when it is not a JSON object. An empty csv field counts as no value."""
    read = F.from_json("raw", "map<string,string>")
    return F.transform_values(read, lambda _, value: F.nullif(value, F.lit(""))) if source.format == "csv" else read


def _cast_sql(name: str, type: str) -> str:
    """SQL for one declared field: null where the text does not fit the type."""
    text = f"_fields[{spark_text(name)}]"
    if type == "string":
        return text
    return f"from_json({text}, {spark_text(type)})" if type.startswith(NESTED) else f"try_cast({text} AS {type})"


def _column_sql(source: Source, types: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Our column -> (its key in nightloom.toml, SQL)."""
    made = {}
    for name, type in types.items():
        made[name] = ("columns", f"CAST((\n{source.columns.get(name, 'NULL')}\n) AS {type})")
    if "attributes" in types:
        pairs = [f"{spark_text(name)}, CAST((\n{sql}\n) AS STRING)" for name, sql in source.attributes.items()]
        made["attributes"] = ("attributes", f"CAST(map({', '.join(pairs)}) AS map<string,string>)")
    return made


def _rule_sql(source: Source) -> dict[str, tuple[str, str]]:
    return {f"_rule_{rule.name}": ("rules", f"CAST((\n{rule.when}\n) AS BOOLEAN)") for rule in source.rules}


def _select(rows: DataFrame, source: Source, columns: list[str], added: Mapping[str, tuple[str, str]]) -> DataFrame:
    """Existing columns and `added` ones. Raises SettingsError with the expression that Spark does not understand."""
    try:
        selected = rows.selectExpr(*columns, *(_aliased(name, sql) for name, (_, sql) in added.items()))
        selected.columns  # noqa: B018  # Spark Connect reports a mistake only when the schema is read
    except AnalysisException:
        for name, (section, sql) in added.items():
            _check_expression(rows, source, f"{section}.{name.removeprefix('_rule_')}", _aliased(name, sql))
        raise
    return selected


def _check_expression(rows: DataFrame, source: Source, key: str, sql: str) -> None:
    try:
        rows.selectExpr(sql).columns  # noqa: B018
    except AnalysisException as error:
        why = (error.getMessage() or str(error)).strip().split("\n")[0]
        given = " ".join(sql.rsplit(" AS `", 1)[0].split())
        raise SettingsError(
            f"source '{source.name}', {key}: Spark cannot make {given}: {why} The fields are {', '.join(source.fields)}"
        ) from None


def _aliased(name: str, sql: str) -> str:
    return f"{sql} AS {spark_name(name)}"


def _common_checks(source: Source) -> list[Column]:
    """The checks of every kind, in order."""
    unreadable = _unreadable(unreadable_detail(source))
    rules = [
        F.when(F.col(f"_rule_{rule.name}"), _verdict(rule.then, F.lit(rule.name), F.lit(f"rule: {rule.when}")))
        for rule in source.rules
    ]
    required, _ = SOURCE_COLUMNS[source.kind]
    missing = [_check_required(name, source) for name in source.columns if name in required]
    ids = [_unreadable(broken_id_detail(name)) for name in source.columns if name.endswith("_id")]
    return [unreadable, *rules, F.col("_misfit"), *missing, *ids]


def _unreadable(detail: Column) -> Column:
    return F.when(detail.isNotNull(), fault("unreadable", detail))


def _check_types(source: Source) -> Column:
    """The fault of the first field whose text does not fit its declared type."""
    found = [F.lit(None).cast(FAULT)]
    for name, type in source.fields.items():
        text, typed = F.col("_fields")[name], F.col(spark_name(name))
        detail = F.concat(F.lit(f"field {name} is "), quote_value(text), F.lit(f", expected {type}"))
        if type != "string":
            found.append(F.when(text.isNotNull() & typed.isNull(), fault("type", detail)))
    return F.coalesce(*found)


def _check_required(name: str, source: Source) -> Column:
    empty = F.col(name).isNull() | (F.col(name).cast("string") == "")
    return F.when(empty, fault("missing", missing_detail(name, source.columns[name], source)))


def _verdict(outcome: str, reason: Column, detail: Column) -> Column:
    return F.struct(F.lit(outcome).alias("outcome"), reason.alias("reason"), detail.alias("detail"))
