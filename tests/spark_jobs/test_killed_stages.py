"""SIGKILL in the middle of the silver merge and of the gold write, and two runs at once: no row lost, none twice."""

import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from expectations.reconciliation import reconcile
from nightloom.contracts import (
    HISTORIES,
    INTERACTIONS,
    ITEM_DAYS,
    QUARANTINE_ROWS,
    REOPENINGS,
    STAGES,
    UNUSED_ROWS,
    Table,
)
from nightloom.lake import Lake
from spark_jobs import bronze, gold_histories, gold_item_days, silver_interactions
from spark_jobs.draft.samples import spread
from tests.spark_jobs import stage_process
from tests.spark_jobs.small_project import EVENTS_ONLY, D, Row, event, project

pytestmark = pytest.mark.usefixtures("quick")
NIGHT = D + timedelta(days=3)
SILVER, GOLD = "spark_jobs.silver_interactions", ("spark_jobs.gold_histories", "spark_jobs.gold_item_days")
WRITTEN: dict[str, tuple[Table, ...]] = {
    SILVER: (INTERACTIONS, QUARANTINE_ROWS, UNUSED_ROWS),
    GOLD[0]: (HISTORIES,),
    GOLD[1]: (ITEM_DAYS,),
}
"""Stage -> tables that it writes rows of."""
MOMENTS = 20


def day(number: int) -> list[Row | str]:
    """Events of one day, one in ten of the day before, with garbage and with repetitions of the day before."""
    at = D + timedelta(days=number)
    rows: list[Row | str] = []
    for n in range(1000):
        when = at - timedelta(days=n % 10 == 0)
        own = event(number * 1000 + n, user_id=f"u{n % 97}", item_id=f"i{n % 53}", at=f"{when}T{n % 24:02}:30:00Z")
        rows.append(own)
    repeated = [event((number - 1) * 1000 + n, at=f"{at - timedelta(days=1)}T00:00:00Z") for n in range(50)]
    return [*rows, *repeated, *(event(number * 1000 + n, event="teleport") for n in range(30)), f"garbage {number}"]


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two nights behind it and a third one's files in bronze."""
    at = project(tmp_path_factory.mktemp("killed") / "shop", spark, EVENTS_ONLY)
    for number in range(3):
        at.land(f"events/{number}.jsonl.gz", day(number))
        at.run(bronze.main, day=D + timedelta(days=number))
        if number < 2:
            at.run(*MAINS, day=D + timedelta(days=number))
    return at.settings.root


MAINS = (silver_interactions.main, gold_histories.main, gold_item_days.main)


def ready(lake: Path, to: Path, spark: SparkSession, module: str) -> Path:
    """The project in a folder of its own, with everything done that comes before the stage."""
    root = Path(shutil.copytree(lake, to))
    if module != SILVER:
        project(root, spark, EVENTS_ONLY).run(silver_interactions.main, day=NIGHT)
    return root


def same(first: Path, second: Path, tables: tuple[Table, ...]) -> None:
    for table in tables:
        assert stage_process.content(first, table) == stage_process.content(second, table), table.full_name


def kills_of(lake: Path, to: Path, spark: SparkSession, module: str, kills: int) -> int:
    """Kill the stage until it was killed so often, each time let it end and compare with an undisturbed twin."""
    twin = ready(lake, to / "undisturbed", spark, module)
    life = stage_process.run_undisturbed(twin, module, NIGHT)
    done = 0
    while done < kills:
        victim = ready(lake, to / f"killed-{done}-{life:.2f}", spark, module)
        now = stage_process.kill_until_done(victim, module, NIGHT, kills=kills - done, seed=done, life=life)
        same(twin, victim, WRITTEN[module])
        if not now:  # the undisturbed run was the slower one, on a machine with other work
            life /= 2
            assert life > 0.2, "the stage ended before it could be killed even once"
        done += now
    return done


@pytest.mark.slow
def test_a_gold_write_killed_in_the_middle_loses_and_doubles_nothing(
    spark: SparkSession, lake: Path, tmp_path: Path
) -> None:
    assert kills_of(lake, tmp_path, spark, GOLD[0], kills=1) == 1


@pytest.mark.slow
@pytest.mark.parametrize("module", [SILVER, *GOLD])
def test_twenty_kills_of_each_stage_at_random_moments(
    spark: SparkSession, lake: Path, tmp_path: Path, module: str
) -> None:
    assert kills_of(lake, tmp_path, spark, module, kills=20) == 20


@pytest.mark.parametrize("module", [SILVER, pytest.param(GOLD[0], marks=pytest.mark.slow)])
def test_two_runs_of_one_night_at_once_do_the_work_of_one(
    spark: SparkSession, lake: Path, tmp_path: Path, module: str, request: pytest.FixtureRequest
) -> None:
    both = ready(lake, tmp_path / "both", spark, module)
    if module == SILVER:
        twin, _ = request.getfixturevalue("killed")
    else:
        twin = ready(lake, tmp_path / "one", spark, module)
        stage_process.run_undisturbed(twin, module, NIGHT)
    stages = [stage_process.start(both, module, NIGHT) for _ in range(2)]
    for stage in stages:
        stage_process.finish(both, stage)
    same(twin, both, WRITTEN[module])
    assert len(stage_process.content(both, REOPENINGS)) == len(stage_process.content(twin, REOPENINGS))


@pytest.fixture(scope="module")
def killed(lake: Path, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A project in which silver ran undisturbed; copies of it as SIGKILL leaves it, from silver's first commit on.

    The last ones are from moments between its commit to silver.interactions and its record.
    """
    folder = tmp_path_factory.mktemp("moments")
    root, copies = ready(lake, folder / "undisturbed", spark, SILVER), list[Path]()
    at, before = Lake(root / "data/lake"), {}
    for table in (QUARANTINE_ROWS, INTERACTIONS, STAGES):
        before[table] = at.version(table) if at.exists(table) else -1
    stage = stage_process.start(root, SILVER, NIGHT)
    while stage.poll() is None:
        bad, good, recorded = (at.exists(table) and at.version(table) > version for table, version in before.items())
        if bad and not recorded:
            copies.append(stage_process.copy_as_killed(root, stage, folder / f"{len(copies)}-{good}"))
        time.sleep(0.01 if good else 0.3)
    stage_process.finish(root, stage)
    return root, copies


@pytest.mark.parametrize("most", [3, pytest.param(None, marks=pytest.mark.slow)], ids=["some states", "each state"])
def test_a_silver_killed_at_any_moment_around_its_commit_is_completed_and_gate_1_opens(
    spark: SparkSession, killed: tuple[Path, list[Path]], tmp_path: Path, most: int | None
) -> None:
    undisturbed, copies = killed
    assert sum(root.name.endswith("True") for root in copies) >= MOMENTS
    states = [*{stage_process.lake_files(root): root for root in copies}.values()]
    for state in spread(states, most or len(states)):
        at = project(Path(shutil.copytree(state, tmp_path / state.name)), spark, EVENTS_ONLY)
        at.run(silver_interactions.main, day=NIGHT)
        same(undisturbed, at.settings.root, WRITTEN[SILVER])
        (check,), _ = reconcile(at.night(NIGHT), "events")
        assert check.passed, check.observed


def test_a_silver_killed_before_its_commit_is_completed_by_other_settings(
    spark: SparkSession, killed: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    before = next(root for root in killed[1] if root.name.endswith("False"))
    mended = EVENTS_ONLY.replace('event = "view"', 'event = "teleport"')
    at = project(Path(shutil.copytree(before, tmp_path / "shop")), spark, mended)
    at.run(silver_interactions.main, day=NIGHT)
    assert {row["reason"] for row in at.rows(QUARANTINE_ROWS) if row["night"] == NIGHT} == {"unreadable"}
    (check,), _ = reconcile(at.night(NIGHT), "events")
    assert check.passed, check.observed
