"""Ranks inside a real Spark cluster on this machine: a master and two workers with one core each."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from nightloom import settings as settings_module
from tests.training.rank_launcher import cyclic_likes, read_output, sequence_section, training
from tests.training.small_project import MakeProject
from tests.training.test_elastic import assert_same_weights

TIMEOUT_SECONDS = 60  # time-out of the cluster's start
DEPLOY = "org.apache.spark.deploy"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """URL of the master."""
    spark = find_spec("pyspark")
    assert spark is not None
    assert spark.origin is not None
    spark_class = str(Path(spark.origin).parent / "bin" / "spark-class")
    port, *others = (free_port() for _ in range(6))
    master = [f"{DEPLOY}.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(others[0])]
    commands = [master]
    for number in range(2):
        ports = ["--port", str(others[1 + number]), "--webui-port", str(others[3 + number])]
        folder = str(tmp_path / f"worker-{number}")
        size = ["-c", "1", "-m", "1g", "-d", folder, f"spark://127.0.0.1:{port}"]
        commands.append([f"{DEPLOY}.worker.Worker", "--host", "127.0.0.1", *ports, *size])
    with ExitStack() as running:
        log = running.enter_context((tmp_path / "cluster.log").open("wb"))
        for command in commands:
            process = subprocess.Popen(
                [spark_class, *command], env=os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"}, stdout=log, stderr=log
            )
            running.callback(process.wait)
            running.callback(process.kill)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (tmp_path / "cluster.log").read_text().count("Registering worker") < 2:
            assert time.monotonic() < deadline, (tmp_path / "cluster.log").read_text()
            time.sleep(0.1)
        yield f"spark://127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_ranks_inside_a_spark_cluster_train_the_same_model_as_horovodrun(
    project: MakeProject, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = project([sequence_section(epochs=3)], cyclic_likes(users=40))
    with training(settings, 2, tmp_path / "horovodrun") as process:
        read_output(process)
    monkeypatch.setenv("NIGHTLOOM_PLACES__SPARK", cluster)
    monkeypatch.setenv("NIGHTLOOM_TRAINING__LAUNCHER", "spark")
    with training(settings_module.load(settings.file), 2, tmp_path / "spark") as process:
        read_output(process)
    assert_same_weights(tmp_path / "horovodrun", tmp_path / "spark")
