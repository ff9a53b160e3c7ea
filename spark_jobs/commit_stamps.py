"""A night whose commits say what they were made from: rows that would be made again are left as they are.

Gold tables of few rows are made here, by SQL over Arrow in the stage's own process: a Spark job for them would be all
start-up. Those that grow with interactions or users are Spark's (night.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from nightloom.contracts import Table
from nightloom.lake import MAINTENANCE_OPERATIONS
from nightloom.night.context import Night
from nightloom.sql.marts import tables

CODE = ("nightloom", "spark_jobs", "training")  # what can change a gold table's rows
LOOK_BACK = 100  # commits of a table in which an earlier run of the same night is looked for


class StampedNight(Night):
    """One stage's run on one logical date, that keeps with each commit what its rows were made from."""

    @cached_property
    def code(self) -> str:
        return code_digest()

    @property
    def stamp(self) -> str:
        """JSON kept with each commit: which night and run, from which versions, settings and code."""
        stamp = {
            "night": self.date.isoformat(), "run_id": self.run_id, "reads": self.reads, "facts": self.tags,
            "config": self.settings.digest, "code": self.code,
        }  # fmt: skip
        return json.dumps(stamp, sort_keys=True)

    def settled(self, table: Table, *inputs: Table, **facts: str) -> bool:
        """Whether this night's rows were made before from the same versions of `inputs`, settings, code and `facts`.

        Then they are left as they are, and downstream nothing changes either. Pins the inputs.
        """
        self.tags |= facts
        for each in inputs:
            self.pin(each)
        if not self.lake.exists(table):
            return False
        commit, before = self.made(table, self.date)
        if not self._same(before, json.loads(self.stamp)):
            return False
        self.record_write(table, rows_of(commit))
        print(f"{table.full_name}: unchanged, made by {before['run_id']} from the same inputs")
        return True

    def made(self, table: Table, night: date) -> tuple[dict[str, Any], dict[str, Any]]:
        """The newest commit of a night's rows, and its stamp; both empty where none is found, or not for certain.

        That is where somebody has changed rows since by hand: their commit has no stamp.
        """
        for commit in self.lake.open(table).history(LOOK_BACK):
            stamp: dict[str, Any] = json.loads(commit.get("userMetadata") or "{}")
            if stamp.get("night") == night.isoformat():
                return commit, stamp
            if not stamp and commit["operation"] not in MAINTENANCE_OPERATIONS:
                break
        return {}, {}

    def _same(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        """Whether two stamps speak of the same rows and code; a version that only upkeep has raised has the same."""
        apart: dict[str, Any] = {"run_id": "", "reads": {}}
        return bool(before) and before | apart == now | apart and self.same_rows(before["reads"], now["reads"])

    def same_rows(self, before: Mapping[str, int], now: Mapping[str, int]) -> bool:
        """Whether two sets of table versions hold the same rows: equal, or only upkeep between them."""
        named = {table.full_name: table for table in tables(self.settings)}
        return before.keys() == now.keys() and all(
            self.lake.same_rows(named[name], before[name], now[name]) for name in now
        )

    def read(self, table: Table) -> DeltaTable:
        """The table at its pinned version, for SQL in this process (`lake.query`)."""
        return self.lake.open(table, self.pin(table))

    def put(self, table: Table, rows: pa.Table) -> None:
        """Rewrite the night's own partition of a gold table."""
        self.lake.replace(table, rows, f"night = {sql_date(self.date)}", self.stamp)
        self.record_write(table, rows.num_rows)


def sql_date(day: date) -> str:
    """A date in SQL, Spark's and DataFusion's."""
    return f"DATE '{day}'"


def rows_of(commit: Mapping[str, Any]) -> int:
    """How many rows a commit wrote, by the metrics of Spark or of delta-rs."""
    metrics = commit["operationMetrics"]
    # Spark leaves the number out of a write of which it saw beforehand that it has no rows.
    return int(metrics.get("numOutputRows") or metrics.get("num_added_rows") or 0)


def code_digest() -> str:
    """Twelve hex digits of the sources that make tables; a git revision would not see an edit on the way."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(file for package in CODE for file in (root / package).rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
