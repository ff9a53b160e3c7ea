"""Maintenance of every table: delete old rows, compact small files, vacuum old versions and log -> ops.storage.

What grows beside the tables is in folder_retention.py. Nothing that is still needed is deleted: the versions behind a
servable version or the champion stay readable, and so do the changes that a later table has not consumed yet.
Rewritten files hold the same rows: no stage sees a change.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from deltalake import CommitProperties, DeltaTable

from nightloom.contracts import RECOMMENDATIONS, STORAGE, Table
from nightloom.errors import NightloomError
from nightloom.lake import as_json, now, transaction_id
from nightloom.lake.recommendations import oldest_needed_night
from nightloom.literals import spark_name
from nightloom.night import stages
from nightloom.night.records import OK, last_attempts, stage_runs
from nightloom.night.run import run_stage
from nightloom.places import files_below
from nightloom.settings import Settings
from nightloom.sql.marts import all_tables
from spark_jobs.context import SparkNight
from spark_jobs.folder_retention import trim_folders
from spark_jobs.storage import SMALL, TableStorage, measure_storage

LOG_DAYS = 30
"""The log is kept at least this long: it is small, and people read it as the table's history."""
LOG_RETENTION = "delta.logRetentionDuration"
FILE_SIZES = {
    "spark.databricks.delta.optimize.minFileSize": str(SMALL),
    "spark.databricks.delta.optimize.maxFileSize": str(128 * 2**20),
}
"""Only small files are compacted, into files that a reader of one day can skip. Delta's own default, 1 GB for both,
rewrites nearly everything each time."""
MEASURED = ("version", "rows", "files", "bytes", "disk_bytes", "log_files", "small_share")


@dataclass(frozen=True)
class Retention:
    """What must stay of a table's history: versions to read, and the version after which changes are not consumed."""

    versions: list[int]
    changes_since: int | None
    oldest_night: date | None
    """Rows of this night and later ones may be served."""


def main(night: SparkNight) -> None:
    """Maintain all tables of the lake."""
    existing = [table for table in all_tables(night.settings) if night.lake.exists(table)]
    retentions, measured_at = _retentions(night, existing), now()
    rows: list[dict[str, Any]] = []
    for table in existing:
        actions = list(_maintain_table(night, table, retentions[table.full_name]))
        found = measure_storage(night.lake, table)
        rows.append(_row(night, table, found, actions, measured_at))
        print(_line(table, found, actions))
    for line in trim_folders(night):
        print(line)
    night.lake.append(STORAGE, rows)
    night.record_write(STORAGE)
    night.counts |= {"tables": len(rows)} | {name: sum(row[name] for row in rows) for name in ("files", "disk_bytes")}


def _retentions(night: SparkNight, existing: Sequence[Table]) -> dict[str, Retention]:
    """Table -> what serving and the stages that consume its changes need of its history."""
    retained, oldest_night = _ask_serving(night.settings)
    read, opened = _last_reads(night), {into: night.lake.open(into) for into in existing}
    found = {}
    for table in existing:
        marks = [opened[into].transaction_version(transaction_id(table, into)) for into in existing]
        consumed = [mark for mark in marks if mark is not None]
        newest = opened[table].version()
        behind = [each for each in [*consumed, *read[table.full_name]] if not night.lake.same_rows(table, each, newest)]
        versions = [version for version in retained.get(table.full_name, ()) if version <= newest]
        found[table.full_name] = Retention(versions, min(behind, default=None), oldest_night)
    return found


def _ask_serving(settings: Settings) -> tuple[dict[str, list[int]], date | None]:
    """Table -> versions that stay readable for serving; the oldest night that can be served. Serving prints both."""
    command = [sys.executable, "-m", "serving.retained_versions", "--config", str(settings.file)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise NightloomError(f"nothing removed: serving did not say which versions it needs: {answer.stderr.strip()}")
    found = json.loads(answer.stdout)
    return found["versions"], found["oldest_night"] and date.fromisoformat(found["oldest_night"])


def _last_reads(night: SparkNight) -> dict[str, list[int]]:
    """Table -> the versions that the lake's stages read last: some stages consume its changes from there."""
    of_lake = (stage for stage in stages.NIGHT if stage.layer in ("bronze", "silver", "gold"))
    found = defaultdict[str, list[int]](list)
    for run in last_attempts(stage_runs(night.lake, *of_lake, statuses=OK)):
        for table, version in run.reads.items():
            found[table].append(version)
    return found


def _maintain_table(night: SparkNight, table: Table, retention: Retention) -> Iterator[str]:
    """Maintain one table -> descriptions of what was done."""
    yield from _delete_expired_rows(night, table, retention.oldest_night)
    yield from _compact(night, table)
    yield from _vacuum(night, table, retention)


def _delete_expired_rows(night: SparkNight, table: Table, oldest_night: date | None) -> Iterator[str]:
    """Delete the rows of nights (or days, weeks, months) that are past the contract's retention.

    The retention counts back from the table's newest period and not from today: a paused project keeps its last nights.
    Rows of the oldest servable night and later ones always stay.
    """
    if table.retention_days is None:
        return
    period = table.period or "night"
    newest = night.lake.rows(table, columns=[f"max({period}) AS newest"])["newest"][0].as_py()
    if newest is None:
        return
    oldest = min(newest, night.date) - timedelta(days=table.retention_days)
    oldest = min(oldest, oldest_night or oldest)
    if table == RECOMMENDATIONS:
        oldest = oldest_needed_night(night.lake, oldest)
    stamp = CommitProperties(custom_metadata={"userMetadata": as_json({"expired": oldest})})  # not by hand
    deleted = night.lake.open(table).delete(f"{period} < DATE '{oldest}'", commit_properties=stamp)
    if rows := deleted["num_deleted_rows"]:
        yield f"deleted {rows:,} rows from before {oldest}"


def _compact(night: SparkNight, table: Table) -> Iterator[str]:
    """Compact small files, or sort all rows where a reader gains by it."""
    before = measure_storage(night.lake, table)
    if table.order and before.needs_ordering:
        _optimize(night, table, f"ZORDER BY ({table.order})")
        yield f"ordered by {table.order}: {before.files:,} files -> {measure_storage(night.lake, table).files:,}"
    elif before.needs_compaction:
        _optimize(night, table)
        yield f"compacted: {before.files:,} files -> {measure_storage(night.lake, table).files:,}"


def _optimize(night: SparkNight, table: Table, order: str = "") -> None:
    if table.layer == "ops":  # small, and written without Spark, which would have to read it first
        night.lake.open(table).optimize.compact()
    else:
        with night.configured(FILE_SIZES):
            night.spark.sql(f"OPTIMIZE delta.{spark_name(night.lake.path(table))} {order}").collect()


def _vacuum(night: SparkNight, table: Table, retention: Retention) -> Iterator[str]:
    """Delete files of versions older than the retention, except retained versions and unconsumed changes."""
    opened = night.lake.open(table)
    hours = max(night.settings.retention.history_days * 24, _hours_since(night, table, retention.changes_since))
    # A dry run first: a vacuum makes two commits, also when it finds nothing.
    if removed := _vacuum_files(opened, hours, retention.versions, dry_run=True):
        _vacuum_files(opened, hours, retention.versions, dry_run=False)
        yield f"removed {len(removed):,} files of versions older than {hours:,} hours"
    ages = [_hours_since(night, table, version) for version in retention.versions]
    yield from _shorten_log(night, table, max([hours, *ages]))


def _vacuum_files(opened: DeltaTable, hours: int, keep: list[int], *, dry_run: bool) -> list[str]:
    return opened.vacuum(hours, dry_run, enforce_retention_duration=False, full=True, keep_versions=keep)


def _shorten_log(night: SparkNight, table: Table, hours: int) -> Iterator[str]:
    """Delete log entries that are older than the retention and older than every version that must stay."""
    days = max(LOG_DAYS, math.ceil(hours / 24) + 1)
    opened, log = night.lake.open(table), night.lake.place(table) / "_delta_log"
    before = {file.name: file.modified for file in files_below(log)}
    if now().timestamp() - min(before.values()) > days * 86_400:
        opened.alter.set_table_properties({LOG_RETENTION: f"interval {days} days"})
        # Cuts at a checkpoint: every version after it stays readable.
        opened.cleanup_metadata()
        if removed := before.keys() - {file.name for file in files_below(log)}:
            yield f"removed {len(removed):,} files of the log older than {days} days"


def _hours_since(night: SparkNight, table: Table, version: int | None) -> int:
    """The age of a version in hours, rounded up; 0 for None."""
    if version is None:
        return 0
    committed: int = night.lake.commits(table, version)[-1]["timestamp"]  # milliseconds
    return math.ceil((now().timestamp() - committed / 1000) / 3600) + 1


def _row(night: SparkNight, table: Table, found: TableStorage, actions: list[str], at: datetime) -> dict[str, Any]:
    measured = {name: value for name, value in asdict(found).items() if name in MEASURED}
    stamp = {"run_id": night.run_id, "night": night.date, "table": table.full_name, "measured_at": at}
    return stamp | measured | {"actions": "; ".join(actions) or "nothing"}


def _line(table: Table, found: TableStorage, actions: list[str]) -> str:
    size = f"{found.bytes / 2**20:,.1f} MiB in {found.files:,} files, {found.disk_bytes / 2**20:,.1f} MiB with history"
    return f"{table.full_name} v{found.version}: {found.rows:,} rows, {size}; {'; '.join(actions) or 'nothing to do'}"


if __name__ == "__main__":
    run_stage(stages.MAINTENANCE, main, context=SparkNight)
