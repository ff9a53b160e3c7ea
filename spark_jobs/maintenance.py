"""Upkeep of every table: old rows out, small files together, old versions and log away -> ops.storage, a line a table.

Nothing that somebody needs goes: versions that a kept serving version or the champion was made from stay readable, and
so do the changes that a later table has not taken yet. What is rewritten holds the same rows: no stage takes it for a
change.
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
from pathlib import Path
from typing import Any

from deltalake import CommitProperties, DeltaTable

from nightloom.contracts import RECOMMENDATIONS, STORAGE, Table
from nightloom.errors import NightloomError
from nightloom.lake import as_json, now, transaction_id
from nightloom.lake.recommendations import oldest_needed_night
from nightloom.night import stages
from nightloom.night.records import OK, last_attempts, stage_runs
from nightloom.night.run import run_stage
from nightloom.settings import Settings
from nightloom.sql.marts import tables
from spark_jobs.context import SparkNight
from spark_jobs.storage import SMALL, TableStorage, measure_storage

LOG_DAYS = 30
"""How long the log is kept at least: it is small, and it is the table's history for a person."""
LOG_RETENTION = "delta.logRetentionDuration"
FILE_SIZES = {
    "spark.databricks.delta.optimize.minFileSize": str(SMALL),
    "spark.databricks.delta.optimize.maxFileSize": str(128 * 2**20),
}
"""Only small files are put together, into files that a reader of one day can skip; Delta's own default, 1 GB for both,
rewrites nearly everything each time."""
MEASURED = ("version", "rows", "files", "bytes", "disk_bytes", "log_files", "small_share")


@dataclass(frozen=True)
class Needs:
    """What of a table's past must stay: versions to read, and the version from which its changes are still to come."""

    held: list[int]
    changes_since: int | None
    oldest_night: date | None
    """Rows of this night and later ones may be served."""


def main(night: SparkNight) -> None:
    """Upkeep of all tables of the lake."""
    there = [table for table in tables(night.settings) if night.lake.exists(table)]
    needs, measured_at = _needs(night, there), now()
    rows: list[dict[str, Any]] = []
    for table in there:
        done = list(_kept_up(night, table, needs[table.full_name]))
        found = measure_storage(night.lake, table)
        rows.append(_row(night, table, found, done, measured_at))
        print(_line(table, found, done))
    night.lake.append(STORAGE, rows)
    night.record_write(STORAGE)
    night.counts |= {"tables": len(rows)} | {name: sum(row[name] for row in rows) for name in ("files", "disk_bytes")}


def _needs(night: SparkNight, there: Sequence[Table]) -> dict[str, Needs]:
    """What kept serving versions, the champion, and stages that follow a table's changes need of each table."""
    retained, oldest_night = _retained(night.settings)
    read, opened = _last_read(night), {into: night.lake.open(into) for into in there}
    found = {}
    for table in there:
        marks = [opened[into].transaction_version(transaction_id(table, into)) for into in there]
        taken = [mark for mark in marks if mark is not None]
        newest = opened[table].version()
        behind = [each for each in [*taken, *read[table.full_name]] if not night.lake.same_rows(table, each, newest)]
        versions = [version for version in retained.get(table.full_name, ()) if version <= newest]
        found[table.full_name] = Needs(versions, min(behind, default=None), oldest_night)
    return found


def _retained(settings: Settings) -> tuple[dict[str, list[int]], date | None]:
    """Table -> versions that stay readable for serving; the oldest night that can be served. Serving prints both."""
    command = [sys.executable, "-m", "serving.retained_versions", "--config", str(settings.file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NightloomError(f"nothing removed: serving could not say which versions it needs: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    return found["versions"], found["oldest_night"] and date.fromisoformat(found["oldest_night"])


def _last_read(night: SparkNight) -> dict[str, list[int]]:
    """Table -> the versions that each stage of the lake's tables read last: some follow its changes from there."""
    of_lake = (stage for stage in stages.NIGHT if stage.layer in ("bronze", "silver", "gold"))
    found = defaultdict[str, list[int]](list)
    for run in last_attempts(stage_runs(night.lake, *of_lake, statuses=OK)):
        for table, version in run.reads.items():
            found[table].append(version)
    return found


def _kept_up(night: SparkNight, table: Table, needs: Needs) -> Iterator[str]:
    """What is done to one table, in words."""
    yield from _expired(night, table, needs.oldest_night)
    yield from _compacted(night, table)
    yield from _vacuumed(night, table, needs)


def _expired(night: SparkNight, table: Table, oldest_night: date | None) -> Iterator[str]:
    """Delete the rows of nights (or days, weeks, months) older than the contract keeps them.

    Counted back from the table's newest period and not from today, so that a project that rests keeps its last nights;
    and never past the oldest night that a kept version serves.
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
    said = CommitProperties(custom_metadata={"userMetadata": as_json({"expired": oldest})})  # not by hand
    done = night.lake.open(table).delete(f"{period} < DATE '{oldest}'", commit_properties=said)
    if rows := done["num_deleted_rows"]:
        yield f"deleted {rows:,} rows of before {oldest}"


def _compacted(night: SparkNight, table: Table) -> Iterator[str]:
    """Put small files together, or order all rows anew where a reader would gain by it."""
    before = measure_storage(night.lake, table)
    if table.order and before.needs_ordering:
        _optimize(night, table, f"ZORDER BY ({table.order})")
        yield f"ordered by {table.order}: {before.files:,} files -> {measure_storage(night.lake, table).files:,}"
    elif before.needs_compaction:
        _optimize(night, table)
        yield f"compacted: {before.files:,} files -> {measure_storage(night.lake, table).files:,}"


def _optimize(night: SparkNight, table: Table, order: str = "") -> None:
    if table.layer == "ops":  # small, and made without Spark, which would first have to read them
        night.lake.open(table).optimize.compact()
    else:
        with night.configured(FILE_SIZES):
            night.spark.sql(f"OPTIMIZE delta.`{night.lake.path(table)}` {order}").collect()


def _vacuumed(night: SparkNight, table: Table, needs: Needs) -> Iterator[str]:
    """Delete files of versions older than the retention, but for held versions and changes that were not taken yet."""
    opened = night.lake.open(table)
    hours = max(night.settings.retention.history_days * 24, _hours_since(night, table, needs.changes_since))
    # Asked first: a vacuum is two commits, also when it finds nothing.
    if gone := _vacuum(opened, hours, needs.held, dry_run=True):
        _vacuum(opened, hours, needs.held, dry_run=False)
        yield f"removed {len(gone):,} files of versions older than {hours:,} hours"
    yield from _log_shortened(night, table, max([hours, *(_hours_since(night, table, each) for each in needs.held)]))


def _vacuum(opened: DeltaTable, hours: int, keep: list[int], *, dry_run: bool) -> list[str]:
    return opened.vacuum(hours, dry_run, enforce_retention_duration=False, full=True, keep_versions=keep)


def _log_shortened(night: SparkNight, table: Table, hours: int) -> Iterator[str]:
    """Drop the log's entries that are older than the retention and than everything that is needed."""
    days = max(LOG_DAYS, math.ceil(hours / 24) + 1)
    opened, log = night.lake.open(table), Path(night.lake.path(table)) / "_delta_log"
    before = {file.name: file.stat().st_mtime for file in log.iterdir()}
    if now().timestamp() - min(before.values()) > days * 86_400:
        opened.alter.set_table_properties({LOG_RETENTION: f"interval {days} days"})
        # Cuts at a checkpoint, so that every version after it can still be read.
        opened.cleanup_metadata()
        if gone := before.keys() - {file.name for file in log.iterdir()}:
            yield f"removed {len(gone):,} files of the log older than {days} days"


def _hours_since(night: SparkNight, table: Table, version: int | None) -> int:
    """Hours, rounded up, that a version is old; 0 for none."""
    if version is None:
        return 0
    committed: int = night.lake.commits(table, version)[-1]["timestamp"]  # milliseconds
    return math.ceil((now().timestamp() - committed / 1000) / 3600) + 1


def _row(night: SparkNight, table: Table, found: TableStorage, done: list[str], at: datetime) -> dict[str, Any]:
    measured = {name: value for name, value in asdict(found).items() if name in MEASURED}
    stamp = {"run_id": night.run_id, "night": night.date, "table": table.full_name, "measured_at": at}
    return stamp | measured | {"actions": "; ".join(done) or "nothing"}


def _line(table: Table, found: TableStorage, done: list[str]) -> str:
    size = f"{found.bytes / 2**20:,.1f} MiB in {found.files:,} files, {found.disk_bytes / 2**20:,.1f} MiB with history"
    return f"{table.full_name} v{found.version}: {found.rows:,} rows, {size}; {'; '.join(done) or 'nothing to do'}"


if __name__ == "__main__":
    run_stage(stages.MAINTENANCE, main, context=SparkNight)
