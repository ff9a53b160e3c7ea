"""Descriptions of items and users that are merged by column: the latest value of each column counts.

A description of a source with `merge = "columns"` says something about those of its columns that are not null; one of
any other source says something about all columns, also by being silent. The *version* of a value is the time and the
row id of the description that gave it; the greatest version wins. So any order of deliveries, any repetition and any
cut into nights gives the same rows (a last-writer-wins register per column).

A source may have a `precedence` for some columns: then the greater one goes first in the version, before the time.

The column `versions` of the table keeps the versions that a row needs to go on: WHOLE is that of the latest whole
description, older ones of single columns are left out. It is null where one whole description gave the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from nightloom.literals import spark_name, spark_text
from nightloom.settings import Source
from spark_jobs.increments import Update
from spark_jobs.isolation import Transform
from spark_jobs.silver import latest_per_key

WHOLE = "*"
MAP = "map<string,string>"
NEWER = """incoming.updated_at > stored.updated_at
    OR (incoming.updated_at = stored.updated_at AND incoming.row_id > stored.row_id)"""
"""The row id decides between two descriptions of one moment: any order of delivery gives the same table."""


def precedence_sql(name: str, sources: Sequence[Source]) -> str:
    """SQL of what goes before the version of a column or attribute of that name: text that sorts by precedence.

    A precedence of 0 has none, and all others come after a date.
    """
    ranks = {source.name: source.precedence[name] for source in sources if source.precedence.get(name)}
    cases = " ".join(f"WHEN {spark_text(source)} THEN '~{rank:03d} '" for source, rank in ranks.items())
    return f"CASE source {cases} ELSE '' END || " if ranks else ""


def version_sql(row: str) -> str:
    """SQL of a row's version, a text: of two versions the later one is the greater one."""
    return f"date_format({row}updated_at, \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS\") || ' ' || {row}row_id"


def merge_of_descriptions(
    key: str, columns: Sequence[str], sources: Sequence[Source], of_latest: Sequence[str] = ()
) -> tuple[Transform, Update]:
    """How descriptions become rows with distinct keys, and how these replace rows that are there.

    `columns` have values that sources give; those `of_latest` say where the latest description came from.
    """
    if any(source.merge == "columns" for source in sources):
        return latest_per_column(key, columns, sources, of_latest), Update(*merge_sql(columns, of_latest))
    return lambda rows: latest_per_key(rows, key).withColumn("versions", F.lit(None).cast(MAP)), Update(NEWER)


def latest_per_column(
    key: str, columns: Sequence[str], sources: Sequence[Source], of_latest: Sequence[str] = ()
) -> Transform:
    """A transform of descriptions: one row per key, the latest value of each of `columns` and of each attribute."""
    partial = [source.name for source in sources if source.merge == "columns"]
    attributes = sorted({name for source in sources for name in source.attributes})

    def latest(rows: DataFrame) -> DataFrame:
        timed = rows.withColumn("updated_at", F.coalesce("updated_at", "file_modified_at"))
        values = {name: F.col(name) for name in columns}
        values |= {attribute_key(name): F.col("attributes")[name] for name in attributes}
        version, whole = version_sql(""), ~F.col("source").isin(partial)
        ranks = {name: precedence_sql(name.removeprefix(attribute_key("")), sources) for name in values}
        given = {
            name: F.when(whole | value.isNotNull(), F.expr(ranks[name] + version)) for name, value in values.items()
        }
        found = timed.groupBy(key).agg(
            F.max(F.struct("updated_at", "row_id", *of_latest)).alias("_latest"),
            F.max(F.when(whole, F.expr(version))).alias("_whole"),
            *(F.max(given[name]).alias(f"_version {name}") for name in values),
            *(F.max_by(value, given[name]).alias(f"_value {name}") for name, value in values.items()),
        )
        latest_value = {name: F.col(spark_name(f"_value {name}")) for name in values}
        versions = {WHOLE: F.col("_whole")} | {name: F.col(spark_name(f"_version {name}")) for name in values}
        return found.select(
            key,
            *(latest_value[name].alias(name) for name in columns),
            _map_of({name: latest_value[attribute_key(name)] for name in attributes}).alias("attributes"),
            "_latest.*",
            _map_of(versions).alias("versions"),
        ).withColumn("versions", F.expr(_shortest("versions", version_sql(""))))

    return latest


def merge_sql(columns: Sequence[str], of_latest: Sequence[str] = ()) -> tuple[str, Mapping[str, str]]:
    """For MERGE over `stored` and `incoming`: when to update a row, and the SQL of each column then."""
    condition = f"""{NEWER} OR exists(map_entries({_versions("incoming")}),
        e -> e.value > coalesce({_effective("stored", "e.key")}, ''))"""
    values = {name: _winner(f"'{name}'", f"incoming.{name}", f"stored.{name}") for name in columns}
    value = _winner("concat('attributes.', n)", "incoming.attributes[n]", "stored.attributes[n]")
    names = "array_union(map_keys(stored.attributes), map_keys(incoming.attributes))"
    pairs = f"transform({names}, n -> named_struct('k', n, 'v', {value}))"
    values["attributes"] = f"map_from_entries(filter({pairs}, pair -> pair.v IS NOT NULL))"
    both = f"map_zip_with({_versions('stored')}, {_versions('incoming')}, (k, a, b) -> greatest(a, b))"
    newest = f"greatest({version_sql('stored.')}, {version_sql('incoming.')})"
    values["versions"] = _shortest(both, newest)
    values["updated_at"] = "greatest(stored.updated_at, incoming.updated_at)"
    values |= {name: f"IF({NEWER}, incoming.{name}, stored.{name})" for name in ("row_id", *of_latest)}
    values["night"] = "incoming.night"
    return condition, values


def attribute_key(name: str) -> str:
    """The key of an attribute's version."""
    return f"attributes.{name}"


def _map_of(values: Mapping[str, Column]) -> Column:
    """A map of the values that are not null."""
    pairs = (part for name, value in values.items() for part in (F.lit(name), value))
    return F.map_filter(F.create_map(*pairs).cast(MAP), lambda _, value: value.isNotNull())


def _versions(row: str) -> str:
    return f"coalesce({row}.versions, map('{WHOLE}', {version_sql(f'{row}.')}))"


def _effective(row: str, key: str) -> str:
    """The version of a column's value: a whole description speaks of each column."""
    return f"greatest({_versions(row)}[{key}], {_versions(row)}['{WHOLE}'])"


def _winner(key: str, incoming: str, stored: str) -> str:
    newer = f"coalesce({_effective('incoming', key)}, '') > coalesce({_effective('stored', key)}, '')"
    return f"IF({newer}, {incoming}, {stored})"


def _shortest(versions: str, newest: str) -> str:
    """`versions` without those that the latest whole description replaces; null where it gave the whole row."""
    needed = f"""map_filter({versions}, (k, v) ->
        k = '{WHOLE}' OR {versions}['{WHOLE}'] IS NULL OR v > {versions}['{WHOLE}'])"""
    return f"IF(size({needed}) = 1 AND coalesce({versions}['{WHOLE}'] = {newest}, false), NULL, {needed})"
