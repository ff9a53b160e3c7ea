"""The context of a stage's run: date, settings, lake and run id, and what the run reads, writes, counts and notes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from nightloom.contracts import Table
from nightloom.errors import ExitCode, NightloomError
from nightloom.settings import Settings

if TYPE_CHECKING:
    from nightloom.lake import Lake


@dataclass
class Night:
    """One stage's run on one logical date."""

    date: date
    settings: Settings
    run_id: str
    stage: str
    reads: dict[str, int] = field(default_factory=dict)
    """Table -> version read."""
    writes: dict[str, int] = field(default_factory=dict)
    """Table -> version written."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was counted -> rows."""
    tags: dict[str, str] = field(default_factory=dict)
    """What else is worth recording: model version, digest of the rules, name of a page."""
    arguments: argparse.Namespace = field(default_factory=argparse.Namespace)

    @property
    def lake(self) -> Lake:
        from nightloom.lake import Lake  # deltalake and Arrow: a server of lists needs neither

        return Lake(self.settings.place("lake"))

    @property
    def end(self) -> datetime:
        """First moment after the date, UTC: a stage reads what is before it."""
        return end_of(self.date)

    def pin(self, table: Table) -> int:
        """Newest version of a table, recorded as read: every later read of this stage uses it."""
        if table.full_name not in self.reads:
            self.reads[table.full_name] = self.lake.version(table)
        return self.reads[table.full_name]

    def record_write(self, table: Table, rows: int | None = None) -> None:
        """Record the version just written, and the number of rows."""
        self.writes[table.full_name] = self.lake.version(table)
        if rows is not None:
            self.counts[table.full_name] = rows

    def skip(self, reason: str) -> None:
        """End the stage with Airflow's skip code: there is nothing to do."""
        raise NothingToDo(reason)

    def abandon(self) -> None:
        """End what other processes do for this run: it is terminated."""

    def clear_records(self) -> None:
        """Forget what was read, written, counted and noted: the stage starts again."""
        for record in (self.reads, self.writes, self.counts, self.tags):
            record.clear()


def nights_in(night: Night, table: Table) -> set[date]:
    """The nights of a table's rows: from its log without reading rows, until a compaction."""
    if not night.lake.exists(table):
        return set()
    if (logged := night.lake.distinct_in_log(table, ("night",), night.pin(table))) is not None:
        return {day for (day,) in logged}
    return set(night.lake.rows(table, columns=["DISTINCT night"], version=night.pin(table))["night"].to_pylist())


def end_of(night: date) -> datetime:
    """First moment after a date, UTC."""
    return datetime(night.year, night.month, night.day, tzinfo=UTC) + timedelta(days=1)


class NothingToDo(NightloomError):  # not an error to a person: the stage says why and is marked skipped
    exit_code = ExitCode.SKIPPED
