"""`./run bench scale` as a command, on a few events and one stage: what it writes, measures and prints."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.scale import DAYS, Cost, Size, over_budget, share, write_first_days, write_last_day
from nightloom.contracts import BRONZE_EVENTS
from nightloom.lake import Lake
from nightloom.night import stages

ROOT = Path(__file__).parents[2]


def rows(folder: Path, kind: str) -> list[list[dict[str, str]]]:
    files = sorted((folder / "landing" / kind).iterdir())
    return [[json.loads(line) for line in gzip.open(file)] for file in files]


def test_the_last_day_has_one_percent_of_new_events_by_one_percent_of_the_users(tmp_path: Path) -> None:
    size = Size(events=20_000, users=2_000, items=400)
    write_first_days(tmp_path, size)
    write_last_day(tmp_path, size)
    *days, last = rows(tmp_path, "events")
    assert [len(day) for day in days] == [200] * DAYS
    assert len(last) == 200
    known = {row["user_id"] for row in rows(tmp_path, "users")[0]}
    active = Counter(row["user_id"] in known for row in last)
    assert len({row["user_id"] for row in last}) <= 20
    assert active == {True: 180, False: 20}
    assert len({row["event_id"] for day in [*days, last] for row in day}) == 20_200
    assert [len(day) for day in rows(tmp_path, "items")] == [400, 4]


@pytest.mark.slow
def test_a_stage_is_measured_in_both_nights(tmp_path: Path) -> None:
    sizes = ["--events", "1000", "--users", "100", "--items", "40"]
    command = [
        sys.executable,
        "-m",
        "benchmarks.scale",
        *sizes,
        "--stages",
        stages.BRONZE.name,
        "--keep",
        str(tmp_path),
    ]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    last = json.loads(process.stdout.splitlines()[-1])
    costs = [last[night][stages.BRONZE.name] for night in ("full", "one_pct")]
    assert all(cost["s"] > 0 and 0.1 < cost["gib"] < 8 for cost in costs)
    assert last["peak_gib"] == max(cost["gib"] for cost in costs)
    assert last["share"] == pytest.approx(costs[1]["s"] / costs[0]["s"], abs=0.01)
    assert Lake(tmp_path / "data" / "lake").open(BRONZE_EVENTS).count() == 1010


def test_training_does_not_count_and_a_stage_over_its_budget_is_named() -> None:
    trained = {stages.TRAIN.name: Cost(100.0, 1.0), stages.MODEL_GATE.name: Cost(50.0, 1.0)}
    full, second = trained | {stages.PUBLISH.name: Cost(10.0, 99.0)}, {stages.PUBLISH.name: Cost(1.0, 1.0)}
    assert share(full, second) == 0.1
    assert over_budget([full, second]) == [
        f"{stages.PUBLISH.name} took 99.0 GiB; its budget is {stages.PUBLISH.gib:g} (nightloom/night/stages.py)"
    ]
