"""Incremental loads: the rows of one table that another has not consumed yet, and writes that note what is consumed.

The consumed version is kept inside the table as a Delta transaction id: (`silver.x from bronze.y`, version of
bronze.y). It is written in one commit with the rows, so no crash can part them, and it outlives the log's clean-up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import QUARANTINE_ROWS, REOPENINGS, Table
from nightloom.errors import ConcurrentRunError
from nightloom.lake import now, transaction_id
from nightloom.literals import spark_name
from spark_jobs import periods
from spark_jobs.commit_stamps import commit_stamp, rows_written
from spark_jobs.context import METADATA, SparkNight
from spark_jobs.delta_errors import translate_delta_errors
from spark_jobs.periods import Change
from spark_jobs.selects import rows_of_periods
from spark_jobs.table_ddl import check_contract

ONE_PARTITION, MANY, PARTITIONS = 150_000, 1_000_000, 2
"""Rows: up to the first number one task is quickest, as it needs no shuffle; the second come in many files."""
ROWS_PER_FILE = 1_000_000
TRANSACTION = "spark.databricks.delta.write.txn"


@dataclass(frozen=True)
class Update:
    """When a row that is there is replaced, SQL over `stored` (there) and `incoming` (new), and by which values.

    `values` is SQL by column; without it the new row replaces the other one whole.
    """

    condition: str
    values: Mapping[str, str] | None = None

    @property
    def assignments(self) -> str:
        return ", ".join(f"{name} = {sql}" for name, sql in self.values.items()) if self.values else "*"


def new_rows(night: SparkNight, table: Table, into: Table) -> DataFrame:
    """Rows of `table`, of whatever night, that `into` has not consumed yet; merge(..., source=table) consumes them."""
    feed = _feed(night, table, into)
    if feed is None:
        return night.frame(table)
    new, count = feed.where("_change_type = 'insert'").select(*table.column_names), _count_new(night, table, into)
    return new.coalesce(1) if count <= ONE_PARTITION else new.repartition(PARTITIONS) if count < MANY else new


def _count_new(night: SparkNight, table: Table, into: Table) -> int:
    """How many rows of `table` this run consumes: those written since `into` last consumed it, or all."""
    consumed = 0 if night.everything else night.lake.consumed_version(table, into) or 0
    return sum(rows_written(entry) for entry in night.lake.commits(table, consumed + 1))


def _feed(night: SparkNight, table: Table, into: Table) -> DataFrame | None:
    """The change feed of `table` since `into` last consumed it; None when all rows are to be consumed."""
    consumed = night.lake.consumed_version(table, into)
    if consumed is None or night.everything:
        return None
    return night.change_feed(table, min(consumed, night.pin(table)))  # another run may have consumed a later version


def refresh_periods(
    night: SparkNight,
    table: Table,
    source: Table,
    rows_of: Callable[[DataFrame | pa.Table], DataFrame | pa.Table],
    *,
    in_process: bool = True,
) -> None:
    """Rebuild the days, weeks or months of `table` (its `period`) whose rows in `source` have changed, once.

    `rows_of` makes the table's rows of those of `source`: it gets whole periods by `occurred_at`, as selects.py gives
    them. Periods that are over and were there already are recorded in ops.reopenings.
    """
    changes, late = _changes(night, source, table), {}
    if changes is not None:
        if not changes:
            night.create(table)
            night.record_write(table, 0)
            return
        late = _late(night, table, changes)
    made = rows_of(rows_of_periods(night, source, table, changes, in_process=in_process))
    where = "true" if changes is None else periods.period_sql(table, changes)
    night.overwrite(table, _by_key(made, table), where, consumption_mark(night, source, table))
    _record_reopenings(night, table, source, late)


def _by_key(rows: DataFrame | pa.Table, table: Table) -> DataFrame | pa.Table:
    """The rows in the order of the table's key, in which they need least room."""
    if isinstance(rows, pa.Table):
        return rows.sort_by([(name, "ascending") for name in table.key])
    return rows.sortWithinPartitions(*table.key)


def _changes(night: SparkNight, source: Table, into: Table) -> dict[date, Change] | None:
    """The changed periods of `into`; None when all rows are to be consumed."""
    consumed = night.lake.consumed_version(source, into)
    if consumed is None or night.everything:
        return None
    newest = night.pin(source)
    if consumed >= newest:  # another run may have consumed a later version
        return {}
    feed = night.lake.changes(source, consumed, newest, ["row_id", "occurred_at"])
    return periods.changes_by_period(feed, into, _replayed(night), night.settings.place("scratch"))


def _late(night: SparkNight, table: Table, changes: Mapping[date, Change]) -> dict[date, Change]:
    """The changes in periods that are over and are in the table already."""
    over = [period for period in changes if period < table.period_of(night.date)]
    there = night.lake.rows(table, periods.period_sql(table, over), [f"DISTINCT {table.period} AS p"]) if over else None
    return {period: changes[period] for period in sorted(there["p"].to_pylist())} if there else {}


def _record_reopenings(night: SparkNight, table: Table, source: Table, late: Mapping[date, Change]) -> None:
    """Record which periods were rebuilt although they are over, and why."""
    fields = {"run_id": night.run_id, "night": night.date, "table": table.full_name, "reopened_at": now()}
    rows = [{"period": period, "why": change.describe(source), "rows": change.rows} for period, change in late.items()]
    if rows:
        night.lake.append(REOPENINGS, [fields | row for row in rows])
    night.counts[f"reopened {table.period}s"] = len(rows)


def _replayed(night: SparkNight) -> pa.Table:
    """The `row_id`s of records that were replayed from quarantine."""
    if not night.lake.exists(QUARANTINE_ROWS):
        return pa.table({"row_id": pa.array([], pa.string())})
    return night.lake.rows(QUARANTINE_ROWS, "state = 'replayed'", ["replayed_as AS row_id"], night.pin(QUARANTINE_ROWS))


def merge(
    night: SparkNight, table: Table, rows: DataFrame, *, source: Table, update: Update | None = None
) -> tuple[int, int]:
    """Merge by the contract's key -> (inserted, updated) rows, and mark `source` as consumed up to its pinned version.

    A row whose key is there is left alone, or replaced as `update` says. Keys in `rows` must be distinct. With `--all`
    the table is rebuilt from `rows`.

    Delta's own MERGE where rows may be replaced, else an append of what is not there. Two runs at once: the
    transaction lets only one of them in.
    """
    night.create(table)
    check_contract(table, rows)
    new, mark = rows.select(*table.column_names), consumption_mark(night, source, table)
    known, since = None, night.lake.version(table)
    if since > 0 and not night.everything:
        known = _known_keys(night, table, new)
    if update and known is not None and not known.isEmpty():
        inserted, updated = _merge(night, table, new, mark, update)
    else:
        unknown = new if known is None or update else new.join(known, list(table.key), "left_anti")
        ordered = _in_order(night, source, unknown, table, table.order) if table.order else unknown
        night.write(table, ordered, "overwrite" if night.everything else "append", mark)
        inserted, updated = _rows_of_run(night, table, since), 0
    night.record_write(table, inserted + updated)
    return inserted, updated


def _in_order(night: SparkNight, source: Table, rows: DataFrame, table: Table, order: str) -> DataFrame:
    """The rows in the order of a column; many rows in files that follow one another: a few days are in few files."""
    files = _count_new(night, source, table) // ROWS_PER_FILE
    in_files = rows.repartitionByRange(files, order) if files > 1 else rows
    return in_files.sortWithinPartitions(order)


def _known_keys(night: SparkNight, table: Table, new: DataFrame) -> DataFrame:
    """The keys of `new` that are in the table, and perhaps others of it: the rest is what MERGE would insert.

    MERGE sorts the keys of the whole table to find out; here their hashes stream past the hashes of the new keys, few
    numbers that fit a processor's cache; the keys themselves decide.
    """
    hashed = F.xxhash64(*table.key).alias("_hash")
    there = night.spark.read.format("delta").load(night.lake.path(table)).select(*table.key, hashed)
    return there.join(new.select(hashed), "_hash", "left_semi").drop("_hash")


def consumption_mark(night: SparkNight, source: Table, table: Table, *, again: bool = False) -> dict[str, str]:
    """The Delta transaction that says up to which version `table` has consumed `source`.

    Delta silently leaves out a write whose transaction is there already. A write that has to be done `again`, as with
    `--all`, has none then.
    """
    if (again or night.everything) and night.lake.consumed_version(source, table) == night.pin(source):
        return {}
    return {"AppId": transaction_id(source, table), "Version": str(night.pin(source))}


def _merge(night: SparkNight, table: Table, new: DataFrame, mark: dict[str, str], update: Update) -> tuple[int, int]:
    new.createOrReplaceTempView("incoming")
    same = " AND ".join(f"stored.{key} = incoming.{key}" for key in table.key)
    statement = (
        f"MERGE INTO delta.{spark_name(night.lake.path(table))} AS stored USING incoming ON {same} "
        f"WHEN MATCHED AND ({update.condition}) THEN UPDATE SET {update.assignments} WHEN NOT MATCHED THEN INSERT *"
    )
    # Session settings: they would also silently skip the next, different MERGE, so each is unset at once.
    values = {f"{TRANSACTION}{name}": value for name, value in mark.items()}
    with translate_delta_errors(table), night.configured(values | {METADATA: commit_stamp(night)}):
        done = night.spark.sql(statement).collect()
    if not done:  # Delta left it out: its transaction is there already
        raise _consumed_elsewhere(table)
    return int(done[0]["num_inserted_rows"]), int(done[0]["num_updated_rows"])


def append_new(night: SparkNight, table: Table, rows: DataFrame, *, source: Table) -> None:
    """Append the rows whose key is not in the table yet: a second try after a crash doubles nothing.

    An append and not a MERGE: stages that run at the same time add to one table without a conflict. The transaction
    keeps apart two runs of one stage. A run after a killed one adds what that one, with other settings, did not.
    """
    night.create(table)
    check_contract(table, rows)
    there = night.spark.read.format("delta").load(night.lake.path(table)).select(*table.key)
    new = rows.select(*table.column_names).dropDuplicates(list(table.key)).join(there, list(table.key), "left_anti")
    night.write(table, new, "append", consumption_mark(night, source, table, again=True))
    night.record_write(table)


def _rows_of_run(night: SparkNight, table: Table, since: int) -> int:
    """Rows of the commit that this run has made after a version. Raises ConcurrentRunError where Delta left it out."""
    for entry in night.lake.commits(table, since + 1):
        if json.loads(entry.get("userMetadata") or "{}").get("run_id") == night.run_id:
            return rows_written(entry)
    raise _consumed_elsewhere(table)


def _consumed_elsewhere(table: Table) -> ConcurrentRunError:
    return ConcurrentRunError(f"{table.full_name} has just consumed the same rows in another run.")
