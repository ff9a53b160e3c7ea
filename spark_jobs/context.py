"""The night with DataFrames: reads pinned Delta versions, writes by contract, and notes both for the run manifest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom.contracts import Table
from nightloom.literals import spark_name
from nightloom.night.context import Night
from nightloom.places import remove_tree
from spark_jobs.cluster import is_cluster
from spark_jobs.commit_stamps import commit_stamp, rows_written, sql_date
from spark_jobs.delta_errors import translate_delta_errors
from spark_jobs.sent_model import SentModel, send
from spark_jobs.session import session
from spark_jobs.table_ddl import check_contract, create_table

METADATA = "spark.databricks.delta.commitInfo.userMetadata"
ALL = {"--all": {"action": "store_true", "help": "rebuild the table from all rows of the tables below it"}}


class SparkNight(Night):
    """One Spark stage's run on one logical date."""

    @cached_property
    def spark(self) -> SparkSession:
        return session(self.settings)

    def send_model(self, folder: Path) -> SentModel:
        """Make a model of this machine known to the executors."""
        return send(self.spark, folder, to_cluster=is_cluster(self.settings.places.spark))

    def abandon(self) -> None:
        """End what a Spark server still does for this run. Spark inside this process ends with it."""
        session: Any = vars(self).get("spark")
        if session is not None and not isinstance(session, SparkSession):  # it is Spark Connect's
            session.stop()

    @property
    def everything(self) -> bool:
        """Whether `--all` asks to rebuild the table from all rows of the tables below it."""
        return bool(getattr(self.arguments, "all", False))

    def create(self, table: Table) -> None:
        """Create the table by its contract, or leave it when it is there.

        Spark creates it and not Lake.create(), which Spark would first read back in a job of two seconds.
        """
        if self.lake.exists(table):
            return
        with translate_delta_errors(table):
            self.spark.sql(create_table(table, self.lake.path(table)))
            if self._appears(table):
                return
            # A run that was killed before the first commit left a folder that Spark takes for the table.
            place = self.lake.place(table)
            if isinstance(place, Path):
                remove_tree(place / "_delta_log")
                self.spark.sql(create_table(table, self.lake.path(table)))
            else:  # there a folder is an object that obstore cannot name, so cannot delete; delta-rs sees none
                self.lake.create(table)

    def _appears(self, table: Table) -> bool:
        """Whether the table is there, or comes soon: another stage may be creating it."""
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

    def change_feed(self, table: Table, since: int) -> DataFrame:
        """Rows of a table that changed after a version, up to the pinned one; the feed's columns say how."""
        newest = self.pin(table)
        feed = self.spark.read.format("delta").option("readChangeFeed", "true")
        if since == newest:  # an empty feed has to name a version that is there
            return feed.option("startingVersion", str(newest)).load(self.lake.path(table)).limit(0)
        span = feed.option("startingVersion", str(since + 1)).option("endingVersion", str(newest))
        return span.load(self.lake.path(table))

    def replace(self, table: Table, rows: DataFrame | pa.Table) -> None:
        """Rewrite the night's own rows of a gold table; `rows` come without the night."""
        if isinstance(rows, pa.Table):
            dated = rows.append_column("night", pa.repeat(pa.scalar(self.date, pa.date32()), rows.num_rows))
        else:
            dated = rows.withColumn("night", F.lit(self.date))
        self.overwrite(table, dated, f"night = {sql_date(self.date)}")

    def overwrite(
        self,
        table: Table,
        rows: DataFrame | pa.Table,
        where: str = "true",
        transaction: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Put `rows` in the place of those that meet `where` (SQL), all of them by default.

        An Arrow table is written in this process: Spark needs two seconds to commit. `transaction`: see write().
        """
        if isinstance(rows, pa.Table):
            self.lake.replace(table, rows, where, commit_stamp(self), transaction)
        else:
            self.create(table)
            check_contract(table, rows)
            self.write(table, rows.select(*table.column_names), "overwrite", transaction, replaceWhere=where)
        self.record_write(table, rows_written(self.lake.last_commit(table)))

    def delete_matched(self, table: Table, rows: DataFrame, where: str) -> int:
        """Delete the rows that meet `where` (SQL over `stored`) and whose key is in `rows` -> how many."""
        rows.createOrReplaceTempView("leaving")
        same = " AND ".join(f"stored.{key} = leaving.{key}" for key in table.key)
        statement = (
            f"MERGE INTO delta.{spark_name(self.lake.path(table))} AS stored USING leaving ON {same} AND {where} "
        )
        with translate_delta_errors(table), self.configured({METADATA: commit_stamp(self)}):
            return int(self.spark.sql(f"{statement} WHEN MATCHED THEN DELETE").collect()[0]["num_deleted_rows"])

    def write(
        self,
        table: Table,
        rows: DataFrame,
        mode: str,
        transaction: Mapping[str, str] = MappingProxyType({}),
        stamp: str | None = None,
        **options: str,
    ) -> None:
        """One commit with the night's stamp or `stamp`; `transaction`: Delta's (AppId, Version), see increments.py."""
        named = {f"txn{name}": value for name, value in transaction.items()}
        stamp = commit_stamp(self) if stamp is None else stamp
        writer = rows.write.format("delta").options(userMetadata=stamp, **named, **options).mode(mode)
        with translate_delta_errors(table):
            writer.save(self.lake.path(table))

    @contextmanager
    def configured(self, values: Mapping[str, str]) -> Iterator[None]:
        """Settings of the Spark session within the block; unset after it."""
        for key, value in values.items():
            self.spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in values:
                self.spark.conf.unset(key)


@contextmanager
def cached(rows: DataFrame) -> Iterator[DataFrame]:
    """The rows, computed once for several uses.

    They are cached on disk, which is the system's page cache while it has room: Java's collector does not scan it.
    """
    rows.persist(StorageLevel.DISK_ONLY)
    try:
        yield rows
    finally:
        rows.unpersist()
