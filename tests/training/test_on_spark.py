"""Ranks inside a real Spark cluster on this machine: a master and two workers with one core each."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightloom import settings as settings_module
from nightloom.settings import CONFIG_VARIABLE
from tests.spark_cluster import Cluster, Machine, cluster
from tests.training.rank_launcher import cyclic_likes, kill, read_output, sequence_section, training
from tests.training.small_project import LAST, MakeProject, Track
from tests.training.test_elastic import assert_same_weights, epochs_of

pytestmark = pytest.mark.slow
MACHINE = Machine("127.0.0.1")


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, of which this test's projects take their ranks."""
    with cluster(tmp_path / "cluster", MACHINE.address) as made:
        for name in ("one", "other"):
            made.start_worker(name, MACHINE)
        monkeypatch.setenv("NIGHTLOOM_PLACES__SPARK", made.url)
        monkeypatch.setenv("NIGHTLOOM_TRAINING__LAUNCHER", "spark")
        yield made


@pytest.mark.usefixtures("running")
def test_ranks_inside_a_spark_cluster_train_the_same_model_as_horovodrun(
    project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = project([sequence_section(epochs=3)], cyclic_likes(users=40))
    with training(settings, 2, tmp_path / "spark") as process:
        read_output(process)
    monkeypatch.delenv("NIGHTLOOM_TRAINING__LAUNCHER")
    with training(settings_module.load(settings.file), 2, tmp_path / "horovodrun") as process:
        read_output(process)
    assert_same_weights(tmp_path / "horovodrun", tmp_path / "spark")


@pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
def test_a_training_that_loses_a_worker_starts_again_by_itself_after_the_last_epoch(
    project: MakeProject, tracked: Track, running: Cluster
) -> None:
    settings = tracked(project([sequence_section(epochs=1500)], cyclic_likes(users=40)))
    command = [sys.executable, "-m", "training.train", "--date", str(LAST)]
    variables = {CONFIG_VARIABLE: str(settings.file), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            read_output(process, until="epoch 10,")
            assert running.kill("other") == 1
            running.start_worker("third", MACHINE)
            output = read_output(process)
        finally:
            kill(process)
    assert "restart 1 of 2 continues from the last checkpoint" in output
    again = epochs_of(output.partition("restart 1 of 2")[2])
    assert again[0] >= 10
    assert again[-1] == 1500
