"""`python -m serving.metrics.stage_runs FILE`: the records of stages and gates -> the metrics of the nights, on stdout.

A process of its own: opening tables takes a worker of the API 90 MB that it would never give back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nightloom import settings as settings_module
from nightloom.lake import Lake
from nightloom.night import records
from nightloom.night.records import GateResult, StageRun
from serving.metrics.exposition import Family, Labels, Sample, render_families


def night_families(lake: Lake) -> Iterator[Family]:
    """Each stage's last run, and the gates of the newest night."""
    runs = records.stage_runs(lake)
    yield from _stage_families(runs)
    nights = records.newest_nights(lake, 1)
    for night, of_night in nights.items():
        state = records.outcome(of_night)
        yield Family(
            "nightloom_night_info", "gauge", "The newest night with its state, by the run records.",
            [Sample(1, {"night": str(night), "state": state})],
        )  # fmt: skip
        yield from _gate_families(records.gate_results(lake, night).values())


def _stage_families(runs: list[StageRun]) -> Iterator[Family]:
    last = {(run.dag, run.stage): run for run in runs}
    good = {(run.dag, run.stage): run for run in runs if run.status == "ok"}

    def gauge(
        name: str, text: str, value: Callable[[StageRun], float], of: Iterable[StageRun] = last.values()
    ) -> Family:
        return Family(f"nightloom_stage_{name}", "gauge", text, [Sample(value(run), _labels(run)) for run in of])

    yield gauge("seconds", "Seconds of a stage's last run.", lambda run: run.seconds)
    yield gauge(
        "last_run_timestamp_seconds", "When a stage's last run ended, Unix time.", lambda run: run.ended_at.timestamp()
    )
    yield gauge(
        "last_success_timestamp_seconds", "When a stage's last good run ended, Unix time.",
        lambda run: run.ended_at.timestamp(), good.values(),
    )  # fmt: skip
    yield gauge("failed", "1 where a stage's last run failed.", lambda run: run.status == "failed")
    yield gauge(
        "peak_memory_bytes", "Most memory that one process of a stage's last run took, without Spark's server.",
        lambda run: run.peak_memory_bytes or 0, [run for run in last.values() if run.peak_memory_bytes],
    )  # fmt: skip
    yield Family(
        "nightloom_stage_rows", "gauge", "Rows that a stage's last run counted, by the name of the count.",
        [Sample(rows, _labels(run) | {"rows": name}) for run in last.values() for name, rows in run.rows.items()],
    )  # fmt: skip


def _gate_families(gates: Iterable[GateResult]) -> Iterator[Family]:
    closed = [Sample(gate.state == "closed", {"gate": gate.gate}) for gate in gates]
    yield Family("nightloom_gate_closed", "gauge", "1 where a gate of the newest night is closed.", closed)


def _labels(run: StageRun) -> Labels:
    return {"dag": run.dag, "stage": run.stage}


if __name__ == "__main__":
    lake_place = settings_module.load(Path(sys.argv[1]), reach=False).place("lake")
    sys.stdout.write(render_families(night_families(Lake(lake_place))))
