"""ops.stages, ops.gates and the served version -> HOME/reports/D.html, the night on one page; and a line on stdout."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from nightloom.contracts import GATES, STAGES
from nightloom.night import runs
from nightloom.night.context import Night, run_stage
from nightloom.night.runs import StageRun
from serving.console.render import duration, render
from serving.stores import open_store
from serving.stores.pushes import version_name
from serving.stores.reader import Reader, Snapshot

SAMPLES, SAMPLE_LENGTH = 4, 10


def main(night: Night) -> None:
    """Write the night's report."""
    for table in (STAGES, GATES):
        night.pin(table)
    stages = runs.last_attempts(runs.stage_runs(night.lake, f"night = DATE '{night.date}'"))
    snapshot = Reader(open_store(night.settings)).now()
    gates = runs.with_gates(night.lake, night.date)
    summary = _summary(night, stages, snapshot)
    page = render(
        "report.html", project=night.settings.project.name, night=night.date, run_id=night.run_id, summary=summary,
        gates=gates, stages=stages, tables=_tables(stages), model=gates.get("model"), samples=list(_samples(snapshot)),
    )  # fmt: skip
    file = night.settings.place("home") / "reports" / f"{night.date}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf8")
    night.counts["stages"] = len(stages)
    night.facts["report"] = str(file.relative_to(night.settings.place("home")))
    print(f"{night.date}: {summary} Report: {file}")


def _summary(night: Night, stages: list[StageRun], snapshot: Snapshot) -> str:
    meta = snapshot.meta
    served = (
        f"{version_name(snapshot.version)} serves {meta['counts']['users']:,} lists of the night of {meta['night']} "
        f"by model version {meta['model_version']}"
    )
    return f"{served}; {len(stages)} stages took {duration(sum(stage.seconds for stage in stages))}."


def _tables(stages: list[StageRun]) -> Iterator[tuple[str, int, int | None]]:
    """Table, newest version written by the night, rows written where the stage counted them."""
    written = {name: (version, run.rows.get(name)) for run in stages for name, version in run.writes.items()}
    return ((name, *found) for name, found in sorted(written.items()))


def _samples(snapshot: Snapshot) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """A few users' lists with titles."""
    for value in itertools.islice(snapshot.values("users"), SAMPLES):
        row = json.loads(bytes(value))
        best = itertools.islice(zip(row["items"], row["scores"], strict=True), SAMPLE_LENGTH)
        yield row["user"], [(snapshot.title(item), score) for item, score in best]


if __name__ == "__main__":
    run_stage("serving.report", main)
