"""A Spark stage that SIGTERM ends in the middle of a job: the row, and no Spark that goes on with the job."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from nightloom.lake import Lake
from nightloom.night.records import stage_runs
from nightloom.settings import CONFIG_VARIABLE
from spark_jobs import server
from spark_jobs.configuration import LAPTOP, configuration
from tests.spark_jobs.small_project import EVENTS_ONLY

CHECKOUT = Path(__file__).parents[2]
STAGE = """
from nightloom.night.run import run_stage
from nightloom.night.stages import Stage
from spark_jobs.context import SparkNight

def body(night):
    night.spark.range(10).collect()
    print("begins", flush=True)
    night.spark.range(10**14).selectExpr("sum(hash(id))").collect()

run_stage(Stage("demo.stage", "ops", "of a test", gib=1), body, context=SparkNight, argv=["--date", "2024-03-01"])
"""


@contextmanager
def stage(root: Path, spark: str) -> Iterator[subprocess.Popen[str]]:
    """A stage's process in the middle of a Spark job."""
    (root / "nightloom.toml").write_text(EVENTS_ONLY.replace('spark = "local[2]"', f'spark = "{spark}"'))
    environment = os.environ | {CONFIG_VARIABLE: str(root / "nightloom.toml"), "PYTHONPATH": str(CHECKOUT)}
    with (root / "stage.log").open("wb") as log, subprocess.Popen(
        [sys.executable, "-c", STAGE], env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n", (root / "stage.log").read_text()
            time.sleep(1)
            yield process
        finally:
            process.kill()


def terminate(root: Path, process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    (run,) = stage_runs(Lake(root / "data" / "lake"))
    assert (run.status, run.error) == ("failed", "terminated by SIGTERM")


def cores(process: psutil.Process) -> float:
    """Processor cores that a process keeps busy."""
    return float(process.cpu_percent(1)) / 100


@pytest.mark.slow
def test_the_driver_of_a_terminated_stage_ends_with_it(tmp_path: Path) -> None:
    with stage(tmp_path, "local[2]") as process:
        below = psutil.Process(process.pid).children(recursive=True)
        assert "java" in {each.name() for each in below}
        terminate(tmp_path, process)
    assert [each for each in below if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []


def test_a_shared_spark_server_stops_the_job_of_a_terminated_stage_and_stays(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    server.start(tmp_path / "data", configuration(tmp_path / "data", LAPTOP))
    try:
        running = server.find(tmp_path / "data")
        assert running is not None
        java = psutil.Process(running.pid)
        with stage(tmp_path, "warm") as process:
            assert cores(java) > 0.3
            terminate(tmp_path, process)
        deadline = time.monotonic() + 20
        while (busy := cores(java)) > 0.15:
            assert time.monotonic() < deadline, f"the server still keeps {busy} cores busy"
        assert server.find(tmp_path / "data") == running
    finally:
        server.stop(tmp_path / "data")
