"""Commit stamps: each commit says what its rows were made from, so that rows which would be the same are left alone.

The stamp of a commit is its userMetadata: the night, the run, the versions of the inputs, the settings, the code and
the tags. Gold tables of few rows are written here, by SQL over Arrow in the stage's own process: a Spark job for them
would be all start-up. Tables that grow with interactions or users are Spark's (context.py).
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from nightloom.contracts import Table
from nightloom.lake import MAINTENANCE_OPERATIONS, Lake
from nightloom.night.context import Night
from nightloom.sql.marts import all_tables

CODE = ("models", "nightloom", "spark_jobs")
"""Packages whose code can change a gold table's rows."""
LOOK_BACK = 100
"""Commits of a table in which an earlier run of the same night is looked for."""


@dataclass(frozen=True)
class Commit:
    """One commit of a table: its operation, the rows that it wrote, and its stamp; one made by hand has none."""

    operation: str
    rows: int
    stamp: dict[str, Any]


def commit_stamp(night: Night) -> str:
    """The stamp of what a night writes now, as JSON."""
    stamp = {
        "night": night.date.isoformat(), "run_id": night.run_id, "reads": night.reads, "tags": night.tags,
        "config": night.settings.digest, "code": code_digest(),
    }  # fmt: skip
    return json.dumps(stamp, sort_keys=True)


def recent_commits(lake: Lake, table: Table) -> Iterator[Commit]:
    """The newest commits of a table, newest first; of no table, none."""
    if not lake.exists(table):
        return
    for entry in lake.commits(table, max(0, lake.version(table) - LOOK_BACK + 1)):
        yield Commit(entry["operation"], rows_written(entry), json.loads(entry.get("userMetadata") or "{}"))


def newest_commit(lake: Lake, table: Table, night: date) -> Commit | None:
    """The newest commit of a night's rows; None where there is none for certain.

    It is not certain after a commit without a stamp: somebody has changed rows by hand.
    """
    for commit in recent_commits(lake, table):
        if commit.stamp.get("night") == night.isoformat():
            return commit
        if not commit.stamp and commit.operation not in MAINTENANCE_OPERATIONS:
            break
    return None


def is_up_to_date(night: Night, table: Table, *inputs: Table, **tags: str) -> bool:
    """Whether a run before made the night's rows from the same rows of `inputs`, settings, code and `tags`.

    Then the rows are left alone, and nothing changes downstream either. Pins the inputs and notes the tags.
    """
    night.tags |= tags
    for each in inputs:
        night.pin(each)
    before = newest_commit(night.lake, table, night.date)
    if before is None or not _same_inputs(night, before.stamp):
        return False
    night.record_write(table, before.rows)
    print(f"{table.full_name}: unchanged, made by {before.stamp['run_id']} from the same inputs")
    return True


def _same_inputs(night: Night, before: dict[str, Any]) -> bool:
    """Whether a stamp names the inputs of this run; a version that only upkeep has raised holds the same rows."""
    now, own = json.loads(commit_stamp(night)), {"run_id": "", "reads": {}}
    return before | own == now | own and have_same_rows(night, before["reads"], now["reads"])


def has_same_recipe(night: Night, before: Commit) -> bool:
    """Whether a commit was made with the settings, code and tags of this run."""
    now = json.loads(commit_stamp(night))
    return all(before.stamp.get(name) == now[name] for name in ("tags", "config", "code"))


def have_same_rows(night: Night, before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether two sets of table versions hold the same rows: equal versions, or only upkeep between them."""
    named = {table.full_name: table for table in all_tables(night.settings)}
    return before.keys() == now.keys() and all(
        night.lake.same_rows(named[name], before[name], now[name]) for name in now
    )


def replace_night(night: Night, table: Table, rows: pa.Table) -> None:
    """Rewrite the night's own rows of a gold table."""
    night.lake.replace(table, rows, f"night = {sql_date(night.date)}", commit_stamp(night))
    night.record_write(table, rows.num_rows)


def sql_date(day: date) -> str:
    """A date in SQL, Spark's and DataFusion's."""
    return f"DATE '{day}'"


def rows_written(entry: Mapping[str, Any]) -> int:
    """How many rows a commit of the log wrote, by the metrics of Spark or of delta-rs."""
    metrics = entry.get("operationMetrics") or {}
    # Spark leaves the number out of a write of which it saw beforehand that it has no rows.
    return int(metrics.get("numOutputRows") or metrics.get("num_added_rows") or 0)


@functools.cache
def code_digest() -> str:
    """Twelve hex digits of the sources that make tables; a git revision would miss an edit not yet committed."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(file for package in CODE for file in (root / package).rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
