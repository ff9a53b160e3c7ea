"""Bronze rows -> the same rows with our columns, the undeclared fields, and a verdict: good, skip, or quarantine.

The first check that a row fails gives its reason. The order: the record is readable; the declared rules; the fields fit
their types; the columns' values fit theirs; the required columns are there; then the checks of the table's own file.
Pure DataFrame -> DataFrame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from nightloom.literals import spark_name
from nightloom.settings import SOURCE_COLUMNS, Settings, Source
from nightloom.settings.ids import Ids
from spark_jobs.expressions import (
    Expression,
    alias,
    attribute_column,
    check_sql,
    column_expressions,
    rule_expressions,
)
from spark_jobs.field_texts import MALFORMED, MOMENTS, expected_text, field_sql, is_nested
from spark_jobs.ids import normalized
from spark_jobs.readers.record import ROW_INDEX
from spark_jobs.record_checks import broken_id_detail, given_column, missing_detail, unreadable_detail

GOOD, SKIP, QUARANTINE = "good", "skip", "quarantine"
MAX_QUOTED = 200  # characters of a bad value that a detail quotes
FAULT = "struct<outcome:string,reason:string,detail:string>"
KEPT = ("_bronze", "_fields", "_misfit")
FIRST_MOMENT, LAST_MOMENT = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
"""What Python, Arrow's readers and Delta's statistics can hold."""
TIME_ALONE = r"^[\p{Cntrl}\s]*T?\d{1,2}:"
"""A time without a date. Spark takes the day on which it runs."""
NESTED_TIME_ALONE = r'"[\p{Cntrl}\s]*T?\d{1,2}:\d'


def parse(rows: DataFrame, sources: Sequence[Source], types: Mapping[str, str], undeclared: bool = True) -> DataFrame:
    """Bronze rows of one kind -> bronze columns, `fields`, `rescued`, one column per entry of `types`, `fault`.

    `types` is our column -> Spark type, with `attributes` of map<string,string> where the kind has attributes. `fault`
    is struct(outcome, reason, detail), or null where the row passed all checks so far. `undeclared` means that rows may
    come from sources that nightloom.toml no longer has. Raises SettingsError that names the expression of
    nightloom.toml that Spark does not understand. Spark ends the job where an expression fails on a value:
    failed_rows() finds these rows.
    """
    only = len(sources) == 1 and not undeclared
    parts = [
        _parse_source(rows if only else rows.where(F.col("source") == source.name), source, types) for source in sources
    ]
    if undeclared or not sources:
        others = rows.where(~F.col("source").isin([source.name for source in sources]))
        parts.append(faulty_rows(others, types, fault("unreadable", "its source is not in nightloom.toml any more")))
    return reduce(DataFrame.unionByName, parts)


def failed_rows(rows: DataFrame, sources: Sequence[Source], types: Mapping[str, str]) -> DataFrame:
    """The bronze rows on which an expression fails -> the columns of parse(), no value, and the fault of each row.

    Spark must not compute common parts of expressions first: `spark.sql.subexpressionElimination.enabled` is false.
    """
    parts = [_failed_rows(rows.where(F.col("source") == source.name), source, types) for source in sources]
    return reduce(DataFrame.unionByName, parts)


def faulty_rows(rows: DataFrame, types: Mapping[str, str], fault: Column) -> DataFrame:
    """Bronze rows -> the columns of parse(), without a value."""
    return rows.select(
        "*",
        F.lit(None).cast("map<string,string>").alias("fields"),
        F.lit(None).cast("map<string,string>").alias("rescued"),
        *(F.lit(None).cast(type).alias(name) for name, type in types.items()),
        fault.alias("fault"),
    )


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


def _parse_source(rows: DataFrame, source: Source, types: Mapping[str, str]) -> DataFrame:
    columns, rules = column_expressions(source, types), rule_expressions(source)
    typed, every = _type_fields(rows, source), columns + rules
    check_sql(typed, source, {each.key: each.cast for each in every})
    refusable = _refusable(typed, every)
    checked = _evaluate(typed, ["*"], rules, refusable)
    # The fields end here: a field and one of our columns may have the same name.
    kept = [*KEPT, *(name for rule in rules for name in (rule.column, rule.uncast) if name in checked.columns)]
    made = _with_ids(_evaluate(checked, kept, columns, refusable, unless=rules), source)
    applied = [F.when(_column(rule.column), _rule_verdict(rule, source)) for rule in rules]
    implicit, explicit = (
        [_check_cast(each) for each in refusable if bool(each.operand) == own] for own in (False, True)
    )
    checks = [*applied, F.col("_misfit"), *implicit, *_check_moments(columns, source)]
    required, _ = SOURCE_COLUMNS[source.kind]
    checks += [_check_required(name, source) for name in source.columns if name in required]
    checks += [_unreadable(broken_id_detail(name)) for name in source.columns if name.endswith("_id")]
    checks += explicit
    values = {each.column: _column(each.column) for each in columns if each.column in types}
    if "attributes" in types:
        pairs = [part for name in source.attributes for part in (F.lit(name), _column(attribute_column(name)))]
        values["attributes"] = F.create_map(*pairs).cast("map<string,string>")
    return _finish(made, source, types, values, checks)


def _failed_rows(rows: DataFrame, source: Source, types: Mapping[str, str]) -> DataFrame:
    """failed_rows() of one source. What is checked before an expression gives the fault, as in parse()."""
    columns, rules = column_expressions(source, types), rule_expressions(source)
    checked = _type_fields(rows, source).selectExpr(
        "*", *(alias(*each) for rule in rules for each in ((rule.column, rule.guarded), (rule.failure, rule.failed)))
    )
    unless = _any_applies(rules)
    failed = (alias(each.failure, f"IF({unless}, false, {each.failed})") for each in columns)
    made = checked.selectExpr(*KEPT, *(name for rule in rules for name in (rule.column, rule.failure)), *failed)
    checks = []
    for rule in rules:
        checks += [_check_failure(rule, source), F.when(_column(rule.column), _rule_verdict(rule, source))]
    checks += [F.col("_misfit"), *(_check_failure(each, source) for each in columns)]
    some = reduce(Column.__or__, (_column(each.failure) for each in columns + rules))
    return _finish(made.where(some), source, types, {}, checks)


def _evaluate(
    rows: DataFrame,
    kept: Sequence[str],
    expressions: Sequence[Expression],
    refusable: Sequence[Expression],
    unless: Sequence[Expression] = (),
) -> DataFrame:
    """Add the expressions' values, before the cast too where it may refuse them; null where a rule of `unless` applies.

    So a rule protects the columns' expressions from the values that it names.
    """
    own = [each for each in expressions if each in refusable and not each.operand]
    made = {each.uncast if each in own else each.column: each.value if each in own else each.cast
            for each in expressions}  # fmt: skip
    made |= {each.uncast: each.operand for each in expressions if each.operand}
    condition = _any_applies(unless)
    guarded = {name: f"IF({condition}, NULL, {sql})" if unless else sql for name, sql in made.items()}
    evaluated = rows.selectExpr(*kept, *(alias(name, sql) for name, sql in guarded.items()))
    cast = {each.column: _column(each.uncast).cast(each.type) for each in own}
    return evaluated.withColumns(cast) if cast else evaluated


def _any_applies(rules: Sequence[Expression]) -> str:
    return " OR ".join(f"coalesce({spark_name(rule.column)}, false)" for rule in rules) or "false"


def _type_fields(rows: DataFrame, source: Source) -> DataFrame:
    """Bronze rows -> `_bronze`, `_fields` (field -> text), each declared field by its name, `_misfit` (a fault)."""
    read = rows.select(F.struct("*").alias("_bronze"), _read_fields(source).alias("_fields")).withColumn(
        "_metadata", _metadata()
    )
    fields = {name: field_sql(name, type, source) for name, type in source.fields.items()}
    check_sql(read, source, {f"fields.{name}": sql for name, sql in fields.items()})
    typed = read.selectExpr("*", *(alias(name, sql) for name, sql in fields.items()))
    typed = typed.withColumn("_misfit", _check_types(source))
    nested = [name for name, type in source.fields.items() if is_nested(type)]
    return typed.withColumns({name: _column(name)["v"] for name in nested}) if nested else typed


def _finish(
    made: DataFrame, source: Source, types: Mapping[str, str], values: Mapping[str, Column], checks: Sequence[Column]
) -> DataFrame:
    """`_bronze`, `_fields` and what values and checks need -> the columns of parse()."""
    declared = F.array(*map(F.lit, [*source.fields, *([ROW_INDEX] if source.has_row_index else [])]))
    rescued = F.map_filter("_fields", lambda name, _: ~F.array_contains(declared, name))
    # Both expressions are slow: they run only where a record's fields are not the declared ones in their order.
    expected = F.map_keys("_fields") == declared
    found = F.when(F.size(F.array_except(F.map_keys("_fields"), declared)) > 0, rescued)
    return made.select(
        "_bronze.*",
        F.col("_fields").alias("fields"),
        F.when(~expected, found).alias("rescued"),
        *(values.get(name, F.lit(None).cast(type)).alias(name) for name, type in types.items()),
        F.coalesce(_unreadable(unreadable_detail(source)), *checks).alias("fault"),
    )


def _read_fields(source: Source) -> Column:
    """The record as field -> text; null when it is not a JSON object. An empty csv field counts as no value."""
    read = F.from_json("raw", "map<string,string>")
    missing = [*source.null_values, *([""] if source.format == "csv" else [])]
    return F.transform_values(read, lambda _, value: F.when(~value.isin(missing), value)) if missing else read


def _metadata() -> Column:
    """What expressions may ask of a record's file, by Spark's names."""
    path = F.col("_bronze.file")
    return F.struct(
        path.alias("file_path"),
        F.element_at(F.split(path, "/"), -1).alias("file_name"),
        F.col("_bronze.file_modified_at").alias("file_modification_time"),
        F.col("_fields")[ROW_INDEX].cast("bigint").alias("row_index"),
    )


def _refusable(typed: DataFrame, expressions: Sequence[Expression]) -> list[Expression]:
    """Those whose cast to their type may refuse a value. A cast to text never does."""
    given = dict(typed.selectExpr(*(alias(each.column, each.value) for each in expressions)).dtypes)
    return [each for each in expressions if each.operand or each.type not in ("string", given[each.column])]


def _check_types(source: Source) -> Column:
    """The fault of the first field whose text does not fit its declared type."""
    found = [F.lit(None).cast(FAULT)]
    for name, type in source.fields.items():
        text, typed = F.col("_fields")[name], _column(name)
        detail = F.concat(
            F.lit(f"field {name} is "), quote_value(text), F.lit(f", expected {expected_text(type, source)}")
        )
        if is_nested(type):
            wrong = typed["v"].isNull() | typed[MALFORMED].isNotNull()
            wrong = wrong | text.rlike(NESTED_TIME_ALONE) if "timestamp" in type.lower() else wrong
        else:
            wrong = typed.isNull()
            wrong = wrong | (_is_of_this_day(typed) & text.rlike(TIME_ALONE)) if type.lower() in MOMENTS else wrong
        if type != "string":
            found.append(F.when(text.isNotNull() & wrong, fault("type", detail)))
    return F.coalesce(*found)


def _check_cast(each: Expression) -> Column:
    """The fault of a value that its type does not take. An empty text is no value."""
    given = _column(each.uncast)
    refused = _column(each.column).isNull() & (given.cast("string") != "")
    expected = f", which {' '.join(each.sql.split())} does not take" if each.operand else f", expected {each.type}"
    detail = F.concat(F.lit(f"{each.label} is "), quote_value(given), F.lit(expected))
    return F.when(refused, fault("type", detail))


def _check_moments(columns: Sequence[Expression], source: Source) -> list[Column]:
    """The faults of timestamps: made of a time without a date, or outside of the years that readers can hold."""
    found = []
    for each in columns:
        if each.type not in MOMENTS:
            continue
        value, texts = _column(each.column), [F.col("_fields")[name] for name in each.fields(source)]
        if texts:
            alone = reduce(Column.__and__, (F.coalesce(text.rlike(TIME_ALONE), F.lit(True)) for text in texts))
            given = F.coalesce(*texts)
            detail = F.concat(F.lit(f"{each.label} is "), quote_value(given), F.lit(", a time without a date"))
            found.append(F.when(_is_of_this_day(value) & alone & given.isNotNull(), fault("type", detail)))
        bounds = [F.lit(bound).cast("timestamp") for bound in (FIRST_MOMENT, LAST_MOMENT)]
        detail = F.concat(F.lit(f"{each.label} is "), quote_value(value), F.lit(", expected the years 1 to 9999"))
        found.append(F.when(~value.between(*bounds), fault("impossible_value", detail)))
    return found


def _is_of_this_day(moment: Column) -> Column:
    """Whether a moment is of the day on which this runs, in any time zone."""
    return moment.between(F.date_sub(F.current_date(), 1), F.date_add(F.current_date(), 2))


def _check_failure(each: Expression, source: Source) -> Column:
    """The fault of a row on which the expression fails: its SQL, and the texts of the fields that it names."""
    texts = [part for name in each.fields(source)
             for part in (F.lit(f", {name} is "), quote_value(F.col("_fields")[name]))]  # fmt: skip
    detail = F.concat(F.lit(f"{each.label}: Spark cannot compute {' '.join(each.sql.split())}"), *texts)
    return F.when(_column(each.failure), fault("impossible_value", detail))


def _unreadable(detail: Column) -> Column:
    return F.when(detail.isNotNull(), fault("unreadable", detail))


def _with_ids(rows: DataFrame, source: Source) -> DataFrame:
    """Each id in the spelling that its source declares, and as it came; null where it stands for no id."""
    as_it_comes = Ids(missing=source.ids.missing)  # the sender's ids of events need not agree with anything
    ids = {name: as_it_comes if name == "event_id" else source.ids for name in source.columns if name.endswith("_id")}
    given = rows.withColumns({given_column(name): _column(name) for name in ids})
    return given.withColumns({name: normalized(_column(name), spelling) for name, spelling in ids.items()})


def _check_required(name: str, source: Source) -> Column:
    empty = F.col(name).isNull() | (F.col(name).cast("string") == "")
    return F.when(empty, fault("missing", missing_detail(name, source.columns[name], source)))


def _rule_verdict(each: Expression, source: Source) -> Column:
    (rule,) = (rule for rule in source.rules if each.key == f"rules.{rule.name}")
    return _verdict(rule.then, F.lit(rule.name), F.lit(f"rule: {rule.when}"))


def _verdict(outcome: str, reason: Column, detail: Column) -> Column:
    return F.struct(F.lit(outcome).alias("outcome"), reason.alias("reason"), detail.alias("detail"))


def _column(name: str) -> Column:
    return F.col(spark_name(name))
