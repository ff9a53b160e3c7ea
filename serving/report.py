"""The run records and the served version -> HOME/reports/D.html, the night on one page; and a line on stdout."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.records import (
    NIGHTLY,
    RECORDS,
    StageRun,
    gate_results_up_to,
    last_attempts,
    outcome,
    runs_by_dag,
    stage_runs,
)
from nightloom.night.run import run_stage
from nightloom.pages.html import duration, render
from nightloom.places import write_text
from serving.night_status import served_nights
from serving.stores import open_store, versions
from serving.stores.pushes import NO_MODEL, version_name
from serving.stores.reader import Reader, Snapshot

TEMPLATE = Path(__file__).parent / "templates" / "report.html"
SAMPLES, SAMPLE_LENGTH = 4, 10


def main(night: Night) -> None:
    """Write the night's report."""
    for table in RECORDS:
        night.pin(table)
    by_dag = runs_by_dag(stage_runs(night.lake, night=night.date))
    runs = last_attempts(by_dag.pop(NIGHTLY))
    store = open_store(night.settings)
    served = night.date in served_nights(versions.list_pushes(store))
    snapshot = Reader(store).current()
    gates = gate_results_up_to(night.lake, night.date)
    summary = _summary(night, runs, snapshot)
    page = render(
        TEMPLATE, project=night.settings.project.name, night=night.date, run_id=night.run_id, summary=summary,
        outcome=outcome(runs, served=served), gates=gates, stages=runs,
        other_dags={dag: last_attempts(others) for dag, others in by_dag.items()},
        tables=_tables(runs), model=gates.get(stages.MODEL_GATE.gate), samples=list(_samples(snapshot)),
        gate_order=[stage.gate for stage in stages.GATES],
    )  # fmt: skip
    night.tags["report"] = f"reports/{night.date}.html"
    file = night.settings.place("home") / night.tags["report"]
    write_text(file, page)
    night.counts["stages"] = len(runs)
    print(f"{night.date}: {summary} Report: {file}")


def _summary(night: Night, runs: list[StageRun], snapshot: Snapshot) -> str:
    meta = snapshot.meta
    lists = (
        f"{meta['counts']['users']:,} lists of the night of {meta['night']} by model version {meta['model_version']}"
    )
    if meta["model_version"] == NO_MODEL:
        lists = f"the popular lists of the night of {meta['night']} alone: no model is champion yet"
    served = f"{version_name(snapshot.version)} serves {lists}"
    return f"{served}; {len(runs)} stages took {duration(sum(run.seconds for run in runs))}."


def _tables(runs: list[StageRun]) -> Iterator[tuple[str, int, int | None]]:
    """Table, newest version written by the night, rows written where the stage counted them."""
    written = {name: (version, run.rows.get(name)) for run in runs for name, version in run.writes.items()}
    return ((name, *found) for name, found in sorted(written.items()))


def _samples(snapshot: Snapshot) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """A few users' lists with titles."""
    for value in itertools.islice(snapshot.values("users"), SAMPLES):
        row = json.loads(bytes(value))
        best = itertools.islice(zip(row["items"], row["scores"], strict=True), SAMPLE_LENGTH)
        yield row["user"], [(snapshot.title(item), score) for item, score in best]


if __name__ == "__main__":
    run_stage(stages.REPORT, main)
