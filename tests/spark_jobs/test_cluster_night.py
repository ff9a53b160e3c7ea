"""A night on a real Spark cluster: the tables are those of a laptop's night.

Its worker has another address than the driver, and sees neither our code nor the driver's models. A second worker is
killed in mid-night.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from benchmarks.lake_content import Row, different_tables
from nightloom.night import stages
from tests.first_night import SMALL, Project, days_arrive
from tests.spark_cluster import Cluster, Machine, cluster, other_machine

D = date(2024, 2, 4)
IN_ONE_PROCESS = (stages.SLATE_GATE, stages.PUBLISH, stages.REPORT, stages.MARTS_CHECK)
"""Stages at the end of a night that are the same everywhere."""
NIGHT = [stage for stage in stages.NIGHT if stage not in IN_ONE_PROCESS]
CHECKOUT = Path(__file__).parents[2]
PACKAGES = [CHECKOUT / name for name in ("models", "nightloom", "spark_jobs", "training")]
TASKS_BEFORE_THE_KILL = 3
LINE_BYTES = 6_500
"""So that 6,000 events are more bytes than bronze reads without Spark. JSON allows spaces after a record."""
Variables = Mapping[str, str]


def make_project(folder: Path) -> Project:
    project = Project.create(folder, SMALL)
    sample = ("--users", "150", "--items", "80", "--days", "37", "--seed", "11", "--events", "6000")
    assert project.nightloom("sample", "synthetic", *sample, "--to", str(folder / "made")).returncode == 0
    days_arrive(folder / "made", folder / "landing", D)
    for file in (folder / "landing" / "events").glob("*.jsonl.gz"):
        lines = gzip.decompress(file.read_bytes()).decode().splitlines()
        file.with_suffix("").write_text("".join(f"{line:{LINE_BYTES}}\n" for line in lines), encoding="utf8")
        file.unlink()
    return project


def run_night(
    project: Project, variables: Variables, before: Callable[[stages.Stage], None] = lambda stage: None
) -> dict[str, str]:
    """A night, stage by stage -> stage's name to its output; `before` is called before each one."""
    outputs = {}
    for stage in NIGHT:
        before(stage)
        command = [sys.executable, "-m", stage.name, "--date", str(D)]
        done = subprocess.run(
            command, cwd=project.root, env=project.environment | dict(variables), capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{stage.name}: {done.stdout}\n{done.stderr[-6000:]}"
        outputs[stage.name] = done.stdout
    return outputs


def laptops_tables(folder: Path, landing: Path) -> dict[str, list[Row]]:
    """Content of the tables after the night on a laptop's warm server, from the same files of the same age."""
    project = Project.create(folder, SMALL)
    shutil.copytree(landing, folder / "landing")
    server = [sys.executable, "-m", "spark_jobs.session"]
    subprocess.run([*server, "start"], cwd=project.root, env=project.environment, check=True)
    try:
        run_night(project, {})
    finally:
        subprocess.run([*server, "stop"], cwd=project.root, env=project.environment, check=True)
    return content(project)


def content(project: Project) -> dict[str, list[Row]]:
    """Every table's rows."""
    return {table: [json.loads(text) for text in texts] for table, texts in project.content().items()}


@contextmanager
def cluster_of(folder: Path, project: Project) -> Iterator[tuple[Cluster, Machine, dict[str, str]]]:
    """A master on this machine's address towards another machine; that machine; the variables of a stage there."""
    models = project.root / "data" / "models"
    models.mkdir(parents=True)
    with other_machine([*PACKAGES, models]) as (here, there), cluster(folder, here) as running:
        settings = {"spark.executor.memory": "1g", "spark.driver.memory": "1g", "spark.executorEnv.TMPDIR": str(folder)}
        settings |= {"spark.executorEnv.NUMBA_CACHE_DIR": str(folder / "numba")}
        variables = {"NIGHTLOOM_PLACES__SPARK": running.url, "NIGHTLOOM_SPARK__PYTHON": sys.executable}
        yield running, there, variables | {"NIGHTLOOM_SPARK__SETTINGS": json.dumps(settings)}


def launched(running: Cluster, worker: str) -> int:
    """How many executors a worker has started."""
    return running.log(worker).count("Asked to launch executor")


def kill_at_work(running: Cluster, worker: str) -> threading.Thread:
    """Start a thread that kills a worker as soon as its executor has finished some tasks: others run, or come."""

    def finished() -> int:
        logs = (running.folder / worker).glob("app-*/*/stderr")
        return sum(log.read_text(errors="replace").count("Finished task") for log in logs)

    def kill() -> None:
        while finished() < TASKS_BEFORE_THE_KILL:
            time.sleep(0.02)
        assert running.kill(worker) == 1

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    return killer


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_a_night_on_a_cluster_has_the_tables_of_a_laptops_night_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "shop")
    with cluster_of(tmp_path / "cluster", project) as (running, there, variables):
        running.start_worker("other", there)
        killers: list[threading.Thread] = []

        def before(stage: stages.Stage) -> None:
            if stage == stages.SILVER_INTERACTIONS:
                running.start_worker("here", Machine(running.host))
                killers.append(kill_at_work(running, "here"))

        outputs = run_night(project, variables, before)
        killers[0].join(1)
        assert not killers[0].is_alive()
        assert "here" not in running.processes
        of_spark = [name for name, output in outputs.items() if "shuffle partitions, up to" in output]
        assert {stages.BRONZE.name, stages.SILVER_INTERACTIONS.name, stages.RECOMMENDATIONS.name} <= set(of_spark)
        assert launched(running, "other") >= len(of_spark)
        models = list((tmp_path / "cluster" / f"nightloom-{os.getuid()}" / "models").glob("nightloom-model-*"))
    assert len(models) == 1  # sent, for the worker does not see the driver's, and unpacked once
    on_cluster, on_laptop = content(project), laptops_tables(tmp_path / "laptop", project.root / "landing")
    assert different_tables(on_cluster, on_laptop) == []
