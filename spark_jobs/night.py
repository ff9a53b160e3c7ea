"""The night with DataFrames: reads pinned Delta versions, writes by contract, and notes both in the run manifest.

What a table has taken from another is kept inside it, as a Delta transaction id: (`silver.x from bronze.y`, version of
bronze.y). It is written in one commit with the rows, so no crash can part them, and it outlives the log's clean-up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom.errors import DataError
from nightloom.manifest import Night
from nightloom.tables import Table
from spark_jobs.session import session

CODE = ("nightloom", "spark_jobs", "training")  # what can change a gold table's rows
LOOK_BACK = 100  # commits of a gold table in which an earlier run of the same night is looked for
TXN = "spark.databricks.delta.write.txn"


class SparkNight(Night):
    """One Spark stage's run on one logical date."""

    @cached_property
    def spark(self) -> SparkSession:
        return session(self.settings)

    def create(self, table: Table) -> None:
        """Make the table by its contract, or leave it when it is there.

        Spark makes it and not Lake.create(), which Spark would first read back in a job of two seconds.
        """
        if not self.lake.exists(table):
            self.spark.sql(_ddl(table, self.lake.path(table)))

    def frame(self, table: Table) -> DataFrame:
        """The table at its pinned version, the contract's columns."""
        version = str(self.pin(table))
        reader = self.spark.read.format("delta").option("versionAsOf", version)
        return reader.load(self.lake.path(table)).select(*table.column_names)

    def partition(self, table: Table) -> DataFrame:
        """The night's own rows of a gold table, at its pinned version."""
        return self.frame(table).where(F.col("night") == F.lit(self.date))

    def changed(self, table: Table, into: Table) -> DataFrame:
        """Rows of `table`, of whatever night, that `into` has not taken yet; merge(..., taken=table) takes them."""
        newest, taken = self.pin(table), self.taken(table, into)
        if taken is None:
            return self.frame(table)
        if taken >= newest:
            return self.frame(table).limit(0)
        feed = (
            self.spark.read.format("delta")
            .option("readChangeFeed", "true")
            .option("startingVersion", str(taken + 1))
            .option("endingVersion", str(newest))
            .load(self.lake.path(table))
        )
        return feed.where("_change_type = 'insert'").select(*table.column_names)

    def taken(self, table: Table, into: Table) -> int | None:
        """Version of `table` up to which `into` has taken its rows; None before the first time."""
        return self.lake.open(into).transaction_version(_taking(table, into)) if self.lake.exists(into) else None

    def merge(self, table: Table, rows: DataFrame, *, taken: Table, update: str | None = None) -> tuple[int, int]:
        """MERGE by the contract's key -> (inserted, updated) rows, and mark `taken` as taken up to its pinned version.

        A row whose key is there is left alone, or replaced where the SQL condition `update` over `kept` (there) and
        `came` (new) holds. Keys in `rows` must be distinct.
        """
        self.create(table)
        _check(table, rows)
        came, mark = rows.select(*table.column_names), {"AppId": _taking(taken, table), "Version": str(self.pin(taken))}
        if self.lake.version(table) == 0:  # nothing to compare with, and an append takes a third of the time
            self._write(table, came, "append", **{f"txn{name}": value for name, value in mark.items()})
            inserted, updated = _rows_of(self.lake.open(table).history(1)[0]), 0
        else:
            inserted, updated = self._merge(table, came, mark, update)
        self.wrote(table, inserted + updated)
        return inserted, updated

    def _merge(self, table: Table, came: DataFrame, mark: dict[str, str], update: str | None) -> tuple[int, int]:
        came.createOrReplaceTempView("came")
        same = " AND ".join(f"kept.{key} = came.{key}" for key in table.key)
        replaced = f"WHEN MATCHED AND ({update}) THEN UPDATE SET *" if update else ""
        statement = (
            f"MERGE INTO delta.`{self.lake.path(table)}` AS kept USING came ON {same} "
            f"{replaced} WHEN NOT MATCHED THEN INSERT *"
        )
        # Session settings: they would also silently skip the next, different MERGE, so each is taken back at once.
        values = {f"{TXN}{name}": value for name, value in mark.items()}
        with self._set(values | {"spark.databricks.delta.commitInfo.userMetadata": self.stamp}):
            done = self.spark.sql(statement).collect()[0]
        return int(done["num_inserted_rows"]), int(done["num_updated_rows"])

    def add(self, table: Table, rows: DataFrame) -> None:
        """Append the rows whose key is not in the table yet: a second try after a crash doubles nothing.

        An append and not a MERGE: stages that run side by side add to one table without a conflict.
        """
        self.create(table)
        _check(table, rows)
        there = self.spark.read.format("delta").load(self.lake.path(table)).select(*table.key)
        new = rows.select(*table.column_names).dropDuplicates(list(table.key)).join(there, list(table.key), "left_anti")
        self._write(table, new, mode="append")
        self.wrote(table)

    def settled(self, table: Table, *inputs: Table, **facts: str) -> bool:
        """Whether this night's rows were made before from the same versions of `inputs`, settings, code and `facts`.

        Then they are left as they are, and downstream nothing changes either. Pins the inputs.
        """
        self.facts |= facts
        for each in inputs:
            self.pin(each)
        if not self.lake.exists(table):
            return False
        now = json.loads(self.stamp)
        for commit in self.lake.open(table).history(LOOK_BACK):
            before = json.loads(commit.get("userMetadata") or "{}")
            if before.get("night") != now["night"]:
                continue
            same: bool = before | {"run_id": ""} == now | {"run_id": ""}
            if same:
                self.wrote(table, _rows_of(commit))
                print(f"{table.full_name}: unchanged, made by {before['run_id']} from the same inputs")
            return same
        return False

    def replace(self, table: Table, rows: DataFrame) -> None:
        """Rewrite the night's own partition of a gold table; `rows` come without the night."""
        self.create(table)
        own = rows.withColumn("night", F.lit(self.date))
        _check(table, own)
        self._write(table, own.select(*table.column_names), "overwrite", replaceWhere=f"night = '{self.date}'")
        self.wrote(table, _rows_of(self.lake.open(table).history(1)[0]))

    @cached_property
    def code(self) -> str:
        return code_digest()

    @property
    def stamp(self) -> str:
        """JSON kept with each commit: which night and run, from which versions, settings and code."""
        stamp = {
            "night": self.date.isoformat(), "run_id": self.run_id, "reads": self.reads, "facts": self.facts,
            "config": self.settings.digest, "code": self.code,
        }  # fmt: skip
        return json.dumps(stamp, sort_keys=True)

    def _write(self, table: Table, rows: DataFrame, mode: str, **options: str) -> None:
        rows.write.format("delta").options(userMetadata=self.stamp, **options).mode(mode).save(self.lake.path(table))

    @contextmanager
    def _set(self, values: dict[str, str]) -> Iterator[None]:
        for key, value in values.items():
            self.spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in values:
                self.spark.conf.unset(key)


def code_digest() -> str:
    """Twelve hex digits of the sources that make tables; a git revision would not see an edit on the way."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(file for package in CODE for file in (root / package).rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _ddl(table: Table, path: str) -> str:
    columns = (
        f"`{column.name}` {column.type}{' NOT NULL' if column.required else ''} COMMENT {_quoted(column.comment)}"
        for column in table.columns
    )
    partition = f"PARTITIONED BY ({table.partition})" if table.partition else ""
    return (
        f"CREATE TABLE IF NOT EXISTS delta.`{path}` ({', '.join(columns)}) USING delta {partition} "
        f"COMMENT {_quoted(table.grain)} TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _taking(table: Table, into: Table) -> str:
    return f"{into.full_name} from {table.full_name}"


def _rows_of(commit: dict[str, Any]) -> int:
    return int(commit["operationMetrics"]["numOutputRows"])


def _check(table: Table, rows: DataFrame) -> None:
    """Raises DataError unless the frame has the contract's columns, by name and type."""
    found, expected = dict(rows.dtypes), {column.name: column.type for column in table.columns}
    if wrong := {name: found.get(name, "nothing") for name, type in expected.items() if found.get(name) != type}:
        told = "; ".join(f"{name} is {type}, expected {expected[name]}" for name, type in wrong.items())
        raise DataError(f"{table.full_name}: the stage's rows do not fit the contract: {told}")
