"""Bronze rows -> the same rows with our columns, the undeclared fields, and a verdict: good, skipped, or why not.

The first question that a row fails is its reason, in this order: can it be read; a declared rule; do the fields fit
their types; are the needed columns there; then what the table's own file asks. Pure DataFrame -> DataFrame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from nightloom.errors import SettingsError
from nightloom.settings import SOURCE_COLUMNS, Settings, Source

GOOD, SKIP, QUARANTINE = "good", "skip", "quarantine"
SHOWN = 200  # characters of a bad value that a detail repeats
FAULT = "struct<outcome:string,reason:string,detail:string>"
NESTED = ("array", "map", "struct")


def parsed(rows: DataFrame, sources: Sequence[Source], types: Mapping[str, str], strangers: bool = True) -> DataFrame:
    """Bronze rows of one kind -> bronze columns, `fields`, `rescued`, one column per entry of `types`, `fault`.

    `types` is our column -> Spark type, `attributes` of map<string,string> among them where the kind has any. `fault`
    is struct(outcome, reason, detail), or null where no question was failed so far. Without `strangers` every row is of
    one of the sources. Raises SettingsError naming the expression of nightloom.toml that Spark does not understand.
    """
    only = len(sources) == 1 and not strangers
    parts = [
        _of_source(rows if only else rows.where(F.col("source") == source.name), source, types) for source in sources
    ]
    if strangers or not sources:
        parts.append(_of_strangers(rows, sources, types))
    return reduce(DataFrame.unionByName, parts)


def judged(rows: DataFrame, *questions: Column) -> DataFrame:
    """`verdict` for `fault` and `fields`: the fault, else that of the first question failed (not null), else good."""
    good = _struct(GOOD, F.lit(""), F.lit(""))
    return rows.withColumn("verdict", F.coalesce("fault", *questions, good)).drop("fault", "fields")


def fault(reason: str, detail: Column | str) -> Column:
    """The verdict that puts a row into quarantine."""
    return _struct(QUARANTINE, F.lit(reason), F.lit(detail) if isinstance(detail, str) else detail)


def shown(value: Column) -> Column:
    """A value as a detail repeats it."""
    return F.coalesce(F.concat(F.lit("'"), F.left(value.cast("string"), F.lit(SHOWN)), F.lit("'")), F.lit("empty"))


def clock_ahead(time: str, settings: Settings) -> Column:
    """The question whether the sender's clock was right: an event cannot come from after we read it."""
    latest = F.col("ingested_at") + F.expr(f"INTERVAL {settings.late.clock_ahead_minutes} MINUTES")
    told = F.concat(
        F.lit(f"{time} is "), F.col(time).cast("string"), F.lit(", read at "), F.col("ingested_at").cast("string")
    )
    return F.when(F.col(time) > latest, fault("clock_ahead", told))


def _of_strangers(rows: DataFrame, sources: Sequence[Source], types: Mapping[str, str]) -> DataFrame:
    return rows.where(~F.col("source").isin([source.name for source in sources])).select(
        "*",
        F.lit(None).cast("map<string,string>").alias("fields"),
        F.lit(None).cast("map<string,string>").alias("rescued"),
        *(F.lit(None).cast(type).alias(name) for name, type in types.items()),
        fault("unreadable", "its source is not in nightloom.toml any more").alias("fault"),
    )


def _of_source(rows: DataFrame, source: Source, types: Mapping[str, str]) -> DataFrame:
    read = rows.select(F.struct("*").alias("_bronze"), _fields(source).alias("_fields"))
    fields = {name: ("fields", _typed(name, type)) for name, type in source.fields.items()}
    typed = _select(read, source, ["*"], fields).withColumn("_misfit", _misfit(source))
    # The fields end here: a field and a column of ours may have one name.
    made = _select(typed, source, ["_bronze", "_fields", "_misfit"], _columns(source, types) | _rules(source))
    declared = F.array(*map(F.lit, source.fields))
    rescued = F.map_filter("_fields", lambda name, _: ~F.array_contains(declared, name))
    # Slow and slower, so only where the record's fields are not just the declared ones in their order.
    usual = F.map_keys("_fields") == declared
    strange = F.when(F.size(F.array_except(F.map_keys("_fields"), declared)) > 0, rescued)
    return made.select(
        "_bronze.*",
        F.col("_fields").alias("fields"),
        F.when(~usual, strange).alias("rescued"),
        *types,
        F.coalesce(*_faults(source)).alias("fault"),
    )


def _fields(source: Source) -> Column:
    """The record as field -> text; null when it is no JSON object. An empty csv field is no value at all."""
    read = F.from_json("raw", "map<string,string>")
    return F.transform_values(read, lambda _, value: F.nullif(value, F.lit(""))) if source.format == "csv" else read


def _typed(name: str, type: str) -> str:
    """SQL that makes one declared field: null where the text does not fit the type."""
    text = f"_fields['{_escaped(name)}']"
    if type == "string":
        return text
    return f"from_json({text}, '{_escaped(type)}')" if type.startswith(NESTED) else f"try_cast({text} AS {type})"


def _columns(source: Source, types: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Our column -> (its key in nightloom.toml, SQL)."""
    made = {}
    for name, type in types.items():
        made[name] = ("columns", f"CAST((\n{source.columns.get(name, 'NULL')}\n) AS {type})")
    if "attributes" in types:
        pairs = [f"'{_escaped(name)}', CAST((\n{sql}\n) AS STRING)" for name, sql in source.attributes.items()]
        made["attributes"] = ("attributes", f"CAST(map({', '.join(pairs)}) AS map<string,string>)")
    return made


def _rules(source: Source) -> dict[str, tuple[str, str]]:
    return {f"_rule_{rule.name}": ("rules", f"CAST((\n{rule.when}\n) AS BOOLEAN)") for rule in source.rules}


def _select(rows: DataFrame, source: Source, kept: list[str], made: Mapping[str, tuple[str, str]]) -> DataFrame:
    """The columns `kept` and `made`; SettingsError with the one that Spark does not understand."""
    try:
        selected = rows.selectExpr(*kept, *(_named(name, sql) for name, (_, sql) in made.items()))
        selected.columns  # noqa: B018  # a client of a Spark server learns of a mistake only when it asks
    except AnalysisException:
        for name, (section, sql) in made.items():
            _try(rows, source, f"{section}.{name.removeprefix('_rule_')}", _named(name, sql))
        raise
    return selected


def _try(rows: DataFrame, source: Source, key: str, sql: str) -> None:
    try:
        rows.selectExpr(sql).columns  # noqa: B018
    except AnalysisException as error:
        why = (error.getMessage() or str(error)).strip().split("\n")[0]
        given = " ".join(sql.rsplit(" AS `", 1)[0].split())
        raise SettingsError(
            f"source '{source.name}', {key}: Spark cannot make {given}: {why} The fields are {', '.join(source.fields)}"
        ) from None


def _named(name: str, sql: str) -> str:
    return f"{sql} AS `{name.replace('`', '``')}`"


def _faults(source: Source) -> list[Column]:
    """The questions that every kind asks, in order."""
    unreadable = F.when(F.col("_fields").isNull(), fault("unreadable", f"not a record of a {source.format} source"))
    rules = [
        F.when(F.col(f"_rule_{rule.name}"), _struct(rule.then, F.lit(rule.name), F.lit(f"rule: {rule.when}")))
        for rule in source.rules
    ]
    required, _ = SOURCE_COLUMNS[source.kind]
    missing = [_missing(name, source.columns[name]) for name in source.columns if name in required]
    return [unreadable, *rules, F.col("_misfit"), *missing]


def _misfit(source: Source) -> Column:
    """The fault of the first field whose text does not fit its declared type."""
    found = [F.lit(None).cast(FAULT)]
    for name, type in source.fields.items():
        text, typed = F.col("_fields")[name], F.col(f"`{name.replace('`', '``')}`")
        told = F.concat(F.lit(f"field {name} is "), shown(text), F.lit(f", expected {type}"))
        if type != "string":
            found.append(F.when(text.isNotNull() & typed.isNull(), fault("type", told)))
    return F.coalesce(*found)


def _missing(name: str, sql: str) -> Column:
    empty = F.col(name).isNull() | (F.col(name).cast("string") == "")
    return F.when(empty, fault("missing", f"{name} is empty; it is made of: {' '.join(sql.split())}"))


def _struct(outcome: str, reason: Column, detail: Column) -> Column:
    return F.struct(F.lit(outcome).alias("outcome"), reason.alias("reason"), detail.alias("detail"))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
