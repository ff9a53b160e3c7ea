"""A small project in a folder, bronze rows with defaults, and nights on it: a test shows only what matters."""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom import settings as settings_module
from nightloom.contracts import BRONZE, BRONZE_EVENTS, Table
from nightloom.lake import arrow_schema
from nightloom.settings import Settings, Source
from spark_jobs.context import SparkNight
from spark_jobs.selects import select_few, select_many

D = date(2024, 3, 1)
NEXT = date(2024, 3, 2)
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
READ = datetime(2024, 3, 2, 2, tzinfo=UTC)
TOML = """
[project]
name = "small"

[places]
spark = "local[2]"

[[sources]]
name = "ratings"
kind = "events"
path = "landing/events"
format = "json"
settle_seconds = 0

[sources.fields]
event_id = "string"
user_id = "string"
item_id = "string"
event = "string"
value = "double"
at = "timestamp"

[sources.columns]
event_id = "event_id"
user_id = "user_id"
item_id = "item_id"
event = "event"
value = "value"
occurred_at = "at"


[[sources]]
name = "catalogue"
kind = "items"
path = "landing/items"
format = "json"
settle_seconds = 0
columns = { item_id = "item_id", title = "title", categories = "genres", available = "`on`", updated_at = "at" }
attributes = { year = "year" }

[sources.fields]
item_id = "string"
title = "string"
year = "int"
genres = "array<string>"
on = "boolean"
at = "timestamp"

[[sources]]
name = "members"
kind = "users"
path = "landing/users"
format = "json"
settle_seconds = 0
fields = { user_id = "string", job = "string" }
columns = { user_id = "user_id" }
attributes = { job = "job" }

[[signals]]
event = "rating"
min_value = 4
valid = [1, 5]

[[signals]]
event = "view"
weight = 0.2

[[models]]
name = "popularity"
"""
EVENTS_ONLY = TOML[: TOML.index('[[sources]]\nname = "catalogue"')] + TOML[TOML.index("[[signals]]") :]
"""The same without items and users, whose streams would run for nothing."""
Row = dict[str, Any]


def event(n: int = 1, **fields: Any) -> Row:
    """An event of the sample's shape; a field given as ... is left out."""
    row: Row = {"event_id": f"e{n}", "user_id": "u1", "item_id": f"i{n}", "event": "rating", "value": 5.0}
    row["at"] = NOON.isoformat()
    return {name: value for name, value in (row | fields).items() if value is not ...}


def bronze(raw: Row | str, source: str = "ratings", file: str = "a.jsonl", **columns: Any) -> Row:
    """A row of bronze.*."""
    text = raw if isinstance(raw, str) else json.dumps(raw)
    row = {
        "row_id": sha256(f"{source}|{file}|{text}".encode()).hexdigest(), "source": source, "raw": text, "file": file,
        "file_modified_at": NOON, "ingested_at": READ, "night": D,
        "lines": None, "problem": None, "file_summary": None,
    }  # fmt: skip
    return row | columns


def frame(spark: SparkSession, rows: Iterable[Row], table: Table = BRONZE_EVENTS) -> DataFrame:
    """Rows -> DataFrame by a contract; columns that the rows lack are null."""
    schema = ", ".join(f"`{column.name}` {column.type}" for column in table.columns)
    names = arrow_schema(table).names
    return spark.createDataFrame([tuple(row.get(name) for name in names) for row in rows], schema)


def popular_lists(spark: SparkSession, *items: str) -> DataFrame:
    """A row of gold.popular without its night."""
    return spark.range(1).select(
        F.lit("all").alias("segment"),
        F.array(*map(F.lit, items)).alias("items"),
        F.array(*(F.lit(1.0) for _ in items)).cast("array<float>").alias("scores"),
    )


@dataclass(frozen=True)
class Project:
    """A folder with a nightloom.toml, and the session its nights use."""

    settings: Settings
    spark: SparkSession

    def night(self, day: date = D) -> SparkNight:
        night = SparkNight(date=day, settings=self.settings, run_id=f"test-{day}", stage="test")
        night.__dict__["spark"] = self.spark  # the tests' one session, and not another one of this place
        return night

    def run(self, *stages: Callable[[SparkNight], None], day: date = D, everything: bool = False) -> dict[str, int]:
        """Run stages of one night, with `--all` or without -> all that they counted."""
        counts: dict[str, int] = {}
        for stage in stages:
            night = self.night(day)
            night.arguments.all = everything
            stage(night)
            counts |= night.counts
        return counts

    def land(self, name: str, lines: Iterable[Row | str]) -> Path:
        """Put lines into a landing file; gzipped when its name says so."""
        file = self.settings.root / "landing" / name
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines).encode()
        file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return file

    def ingest(self, *raws: Row | str, kind: str = "events", file: str = "a.jsonl", **columns: Any) -> None:
        """Append records to a bronze table in place of bronze.py: most tests are about the stages after it."""
        source = {"events": "ratings", "items": "catalogue", "users": "members"}[kind]
        self.append(BRONZE[kind], [bronze(raw, source, file, **columns) for raw in raws])

    def append(self, table: Table, rows: Iterable[Row]) -> None:
        """Append rows of a contract."""
        night = self.night()
        night.create(table)
        frame(self.spark, rows, table).coalesce(1).write.format("delta").mode("append").save(night.lake.path(table))

    def rows(self, table: Table, *columns: str) -> list[Row]:
        """The table's rows now, in an order of their own."""
        found = self.night().lake.rows(table, columns=columns or ("*",)).to_pylist()
        return sorted(found, key=repr)


def select_by_both(at: Project, statement: str, into: Table, interactions: DataFrame) -> DataFrame:
    """The rows of a statement over silver.interactions by Spark; DuckDB gives the same."""
    few = interactions.toArrow()
    by_duckdb, by_spark = select_few(at.night(), statement, into, few), select_many(statement, interactions)
    rows = by_spark.select(*into.column_names).toArrow().cast(arrow_schema(into)).to_pylist()
    assert sorted(by_duckdb.to_pylist(), key=repr) == sorted(rows, key=repr)
    return by_spark


def project(folder: Path, spark: SparkSession, toml: str = TOML) -> Project:
    """Make the project and its landing folders."""
    folder.mkdir(exist_ok=True)
    (folder / "nightloom.toml").write_text(toml)
    settings = settings_module.load(folder / "nightloom.toml")
    for source in settings.sources:
        if source.path:
            (folder / source.path).mkdir(parents=True, exist_ok=True)
    return Project(settings, spark)


def source(**changes: Any) -> Source:
    """The ratings source, some of it changed."""
    fields: Mapping[str, str] = {"user_id": "string", "item_id": "string", "value": "double", "at": "timestamp"}
    columns = {"user_id": "user_id", "item_id": "item_id", "event": "'rating'", "value": "value", "occurred_at": "at"}
    given = {"name": "ratings", "kind": "events", "path": "x", "format": "json", "fields": fields, "columns": columns}
    return Source.model_validate(given | changes)
