"""The night with DataFrames: reads pinned Delta versions, writes by contract, and notes both in the run manifest.

What a table has taken from another is kept inside it, as a Delta transaction id: (`silver.x from bronze.y`, version of
bronze.y). It is written in one commit with the rows, so no crash can part them, and it outlives the log's clean-up.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom.contracts import QUARANTINE_ROWS, REOPENINGS, Table
from nightloom.errors import ConcurrentRunError, DataError
from nightloom.lake import now, properties, transaction_id
from nightloom.literals import spark_text
from spark_jobs import periods
from spark_jobs.commit_stamps import LOOK_BACK, StampedNight, rows_of, sql_date
from spark_jobs.delta_errors import told
from spark_jobs.periods import Change
from spark_jobs.session import session

ONE_PART, MANY, PARTS = 150_000, 1_000_000, 2
"""Rows: up to the first number one task is quickest, as it needs no shuffle; the second come in many files."""
TXN = "spark.databricks.delta.write.txn"
METADATA = "spark.databricks.delta.commitInfo.userMetadata"
ALL = {"--all": {"action": "store_true", "help": "make the table anew from all that is below it"}}


class SparkNight(StampedNight):
    """One Spark stage's run on one logical date."""

    @cached_property
    def spark(self) -> SparkSession:
        return session(self.settings)

    @property
    def everything(self) -> bool:
        """Whether `--all` asks to make the table anew from all that is below it."""
        return bool(getattr(self.arguments, "all", False))

    def create(self, table: Table) -> None:
        """Make the table by its contract, or leave it when it is there.

        Spark makes it and not Lake.create(), which Spark would first read back in a job of two seconds.
        """
        if not self.lake.exists(table):
            with told(table):
                self.spark.sql(_ddl(table, self.lake.path(table)))
                if not self._appears(table):
                    # A run that was killed before the first commit left a folder that Spark takes for the table.
                    shutil.rmtree(Path(self.lake.path(table)) / "_delta_log")
                    self.spark.sql(_ddl(table, self.lake.path(table)))

    def _appears(self, table: Table) -> bool:
        """Whether the table is there, or comes soon: another stage may be making it."""
        for _ in range(10):
            if self.lake.exists(table):
                return True
            time.sleep(0.5)
        return False

    def frame(self, table: Table) -> DataFrame:
        """The table at its pinned version, the contract's columns."""
        version = str(self.pin(table))
        reader = self.spark.read.format("delta").option("versionAsOf", version)
        return reader.load(self.lake.path(table)).select(*table.column_names)

    def changed(self, table: Table, into: Table) -> DataFrame:
        """Rows of `table`, of whatever night, that `into` has not taken yet; merge(..., taken=table) takes them."""
        feed = self._feed(table, into)
        if feed is None:
            return self.frame(table)
        new, came = feed.where("_change_type = 'insert'").select(*table.column_names), self._came(table, into)
        return new.coalesce(1) if came <= ONE_PART else new.repartition(PARTS) if came < MANY else new

    def _came(self, table: Table, into: Table) -> int:
        """How many rows `table` was given since `into` last took from it."""
        since = (self.lake.consumed_version(table, into) or 0) + 1
        return sum(rows_of(commit) for commit in self.lake.commits(table, since))

    def _feed(self, table: Table, into: Table) -> DataFrame | None:
        """The change feed of `table` since `into` last took from it; None when everything is to be taken."""
        newest, taken = self.pin(table), self.lake.consumed_version(table, into)
        if taken is None or self.everything:
            return None
        feed = self.spark.read.format("delta").option("readChangeFeed", "true")
        if taken >= newest:  # an empty feed has to name a version that is there
            return feed.option("startingVersion", str(newest)).load(self.lake.path(table)).limit(0)
        span = feed.option("startingVersion", str(taken + 1)).option("endingVersion", str(newest))
        return span.load(self.lake.path(table))

    def refresh(self, table: Table, source: Table, make: Callable[[DataFrame], DataFrame]) -> None:
        """Rebuild the days, weeks or months of `table` (its `period`) whose rows in `source` have changed, once.

        `make` gives the table's rows for the rows of `source` that it gets: whole periods by `occurred_at`. What was
        there and is rebuilt although its time is over is written down in ops.reopenings.
        """
        self.create(table)
        feed, rows, where, late = self._feed(source, into=table), self.frame(source), "true", {}
        if feed is not None:
            changes = periods.changes(feed, table, self._replayed())
            if not changes:
                self.record_write(table, 0)
                return
            rows, where = rows.where(periods.within(table, changes)), periods.sql(table, changes)
            late = self._over(table, changes)
        made = make(rows)
        _check(table, made)
        ordered = made.select(*table.column_names).sortWithinPartitions(*table.key)
        self._write(table, ordered, "overwrite", self._mark(source, table), replaceWhere=where)
        self.record_write(table, rows_of(self.lake.open(table).history(1)[0]))
        self._reopened(table, source, late)

    def _over(self, table: Table, changes: Mapping[date, Change]) -> dict[date, Change]:
        """The changes in periods whose time is over and that are in the table already."""
        over = [period for period in changes if period < table.period_of(self.date)]
        there = self.lake.rows(table, periods.sql(table, over), [f"DISTINCT {table.period} AS p"]) if over else None
        return {period: changes[period] for period in sorted(there["p"].to_pylist())} if there else {}

    def _reopened(self, table: Table, source: Table, late: Mapping[date, Change]) -> None:
        """Write down which periods were rebuilt although their time is over, and why."""
        fields = {"run_id": self.run_id, "night": self.date, "table": table.full_name, "reopened_at": now()}
        rows = [{"period": period, "why": change.why(source), "rows": change.rows} for period, change in late.items()]
        if rows:
            self.lake.append(REOPENINGS, [fields | row for row in rows])
        self.counts[f"reopened {table.period}s"] = len(rows)

    def _replayed(self) -> DataFrame | None:
        """The `row_id`s under which records of quarantine went in again; None when there are none."""
        where = "state = 'replayed'"
        if not self.lake.exists(QUARANTINE_ROWS) or not self.lake.rows(QUARANTINE_ROWS, f"{where} LIMIT 1").num_rows:
            return None
        return self.frame(QUARANTINE_ROWS).where(where).select(F.col("replayed_as").alias("row_id"))

    def merge(self, table: Table, rows: DataFrame, *, taken: Table, update: str | None = None) -> tuple[int, int]:
        """Merge by the contract's key -> (inserted, updated) rows, and mark `taken` as taken up to its pinned version.

        A row whose key is there is left alone, or replaced where the SQL condition `update` over `kept` (there) and
        `came` (new) holds. Keys in `rows` must be distinct. With `--all` the table is made anew of `rows`.

        Delta's own MERGE where rows may be replaced, else an append of what is not there. Two runs at once: the mark
        lets only one of them in.
        """
        self.create(table)
        _check(table, rows)
        came, mark = rows.select(*table.column_names), self._mark(taken, table)
        known = None
        if self.lake.version(table) > 0 and not self.everything:
            known = self._known(table, came)
        if update and known is not None and not known.isEmpty():
            inserted, updated = self._merge(table, came, mark, update)
        else:
            new = came if known is None or update else came.join(known, list(table.key), "left_anti")
            ordered = new.sortWithinPartitions(table.order) if table.order else new
            self._write(table, ordered, "overwrite" if self.everything else "append", mark)
            inserted, updated = self._written(table), 0
        self.record_write(table, inserted + updated)
        return inserted, updated

    def _known(self, table: Table, came: DataFrame) -> DataFrame:
        """The keys of `came` that are in the table, and perhaps others of it: the rest is what MERGE would insert.

        MERGE sorts the keys of the whole table to find out; here their hashes stream past the hashes of those that
        came, few numbers that fit a processor's cache; the keys themselves decide.
        """
        hashed = F.xxhash64(*table.key).alias("_hash")
        there = self.spark.read.format("delta").load(self.lake.path(table)).select(*table.key, hashed)
        return there.join(came.select(hashed), "_hash", "left_semi").drop("_hash")

    def _mark(self, taken: Table, table: Table) -> dict[str, str]:
        """The transaction that says up to which version `table` has taken from `taken`.

        Delta silently leaves out a write whose mark is there already: without one, then, as `--all` writes again.
        """
        if self.everything and self.lake.consumed_version(taken, table) == self.pin(taken):
            return {}
        return {"AppId": transaction_id(taken, table), "Version": str(self.pin(taken))}

    def _merge(self, table: Table, came: DataFrame, mark: dict[str, str], update: str) -> tuple[int, int]:
        came.createOrReplaceTempView("came")
        same = " AND ".join(f"kept.{key} = came.{key}" for key in table.key)
        statement = (
            f"MERGE INTO delta.`{self.lake.path(table)}` AS kept USING came ON {same} "
            f"WHEN MATCHED AND ({update}) THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )
        # Session settings: they would also silently skip the next, different MERGE, so each is taken back at once.
        values = {f"{TXN}{name}": value for name, value in mark.items()}
        with told(table), self.configured(values | {METADATA: self.stamp}):
            done = self.spark.sql(statement).collect()
        if not done:  # Delta left it out: its mark is there already
            raise _taken(table)
        return int(done[0]["num_inserted_rows"]), int(done[0]["num_updated_rows"])

    def add(self, table: Table, rows: DataFrame, *, taken: Table) -> None:
        """Append the rows whose key is not in the table yet: a second try after a crash doubles nothing.

        An append and not a MERGE: stages that run side by side add to one table without a conflict. The mark keeps
        apart two runs of one stage.
        """
        self.create(table)
        _check(table, rows)
        there = self.spark.read.format("delta").load(self.lake.path(table)).select(*table.key)
        new = rows.select(*table.column_names).dropDuplicates(list(table.key)).join(there, list(table.key), "left_anti")
        self._write(table, new, "append", {} if self.everything else self._mark(taken, table))
        self.record_write(table)

    def delete_unless(self, table: Table, rows: DataFrame, where: str) -> int:
        """Delete the rows that meet `where` (SQL over `kept`) and whose key is not in `rows` -> how many."""
        rows.createOrReplaceTempView("staying")
        same = " AND ".join(f"kept.{key} = staying.{key}" for key in table.key)
        statement = (
            f"MERGE INTO delta.`{self.lake.path(table)}` AS kept USING staying ON {same} "
            f"WHEN NOT MATCHED BY SOURCE AND {where} THEN DELETE"
        )
        with told(table), self.configured({METADATA: self.stamp}):
            return int(self.spark.sql(statement).collect()[0]["num_deleted_rows"])

    def replace(self, table: Table, rows: DataFrame) -> None:
        """Rewrite the night's own partition of a gold table; `rows` come without the night."""
        self.overwrite(table, rows.withColumn("night", F.lit(self.date)), f"night = {sql_date(self.date)}")

    def overwrite(self, table: Table, rows: DataFrame, where: str = "true") -> None:
        """Put `rows` in the place of those that meet `where` (SQL), all of them by default."""
        self.create(table)
        _check(table, rows)
        self._write(table, rows.select(*table.column_names), "overwrite", replaceWhere=where)
        self.record_write(table, rows_of(self.lake.open(table).history(1)[0]))

    def _write(
        self, table: Table, rows: DataFrame, mode: str, mark: Mapping[str, str] = MappingProxyType({}), **options: str
    ) -> None:
        marked = {f"txn{name}": value for name, value in mark.items()}
        writer = rows.write.format("delta").options(userMetadata=self.stamp, **marked, **options).mode(mode)
        with told(table):
            writer.save(self.lake.path(table))

    def _written(self, table: Table) -> int:
        """Rows of the commit that this run has just made. Raises ConcurrentRunError where Delta left the write out."""
        commits = self.lake.open(table).history(LOOK_BACK)
        own = (each for each in commits if json.loads(each.get("userMetadata") or "{}").get("run_id") == self.run_id)
        commit = next(own, None)
        if commit is None:
            raise _taken(table)
        return rows_of(commit)

    @contextmanager
    def configured(self, values: Mapping[str, str]) -> Iterator[None]:
        """Settings of the Spark session for what is done within; taken back after it."""
        for key, value in values.items():
            self.spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in values:
                self.spark.conf.unset(key)


def _taken(table: Table) -> ConcurrentRunError:
    return ConcurrentRunError(f"{table.full_name} has just taken the same rows in another run.")


def _ddl(table: Table, path: str) -> str:
    columns = (
        f"`{column.name}` {column.type}{' NOT NULL' if column.required else ''} COMMENT {spark_text(column.comment)}"
        for column in table.columns
    )
    partition = f"PARTITIONED BY ({table.partition})" if table.partition else ""
    kept = ", ".join(f"{spark_text(name)} = {spark_text(value)}" for name, value in properties(table).items())
    return (
        f"CREATE TABLE IF NOT EXISTS delta.`{path}` ({', '.join(columns)}) USING delta {partition} "
        f"COMMENT {spark_text(table.grain)} TBLPROPERTIES ({kept})"
    )


def _check(table: Table, rows: DataFrame) -> None:
    """Raises DataError unless the frame has the contract's columns, by name and type."""
    found, expected = dict(rows.dtypes), {column.name: column.type for column in table.columns}
    if wrong := {name: found.get(name, "nothing") for name, type in expected.items() if found.get(name) != type}:
        told = "; ".join(f"{name} is {type}, expected {expected[name]}" for name, type in wrong.items())
        raise DataError(f"{table.full_name}: the stage's rows do not fit the contract: {told}")
