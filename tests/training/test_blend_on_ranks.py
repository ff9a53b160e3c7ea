"""A blend whose member trains on ranks, one of which is killed: its weights are those of an undisturbed training."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import registry
from nightloom.settings import CONFIG_VARIABLE, Settings
from tests.spark_cluster import Machine, cluster
from tests.training.rank_launcher import Process, cyclic_likes, kill, rank_processes, read_output
from tests.training.small_project import LAST, MakeProject, Track

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # what MLflow and SQLAlchemy say of themselves
BLEND = """
[[models]]
name = "blend"

[models.params]
members = "sequence, als"
held_out_days = 2
"sequence.factors" = 16
"sequence.length" = 8
"sequence.epochs" = 400
"sequence.batch" = 32
"sequence.learning_rate" = 0.01
"sequence.horizon" = 2
"als.factors" = 8
"""


def train(settings: Settings, disturb: Callable[[Process], None] | None = None) -> str:
    """Train the blend; `disturb` it in epoch 10 of its first training on ranks -> what it printed."""
    command = [sys.executable, "-m", "training.train", "--date", str(LAST)]
    variables = {CONFIG_VARIABLE: str(settings.file), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            if disturb:
                read_output(process, until="epoch 10,")
                disturb(process)
            return read_output(process)
        finally:
            kill(process)


def blend_weights(settings: Settings) -> dict[str, NDArray[np.generic]]:
    """The arrays of the newest blend and of its members, by name."""
    found = registry.newest_version(settings)
    assert found is not None
    return {str(file.relative_to(found.folder)): np.load(file) for file in sorted(found.folder.rglob("*.npy"))}


def kill_a_rank(process: Process) -> None:
    rank_processes(process)[1].kill()


@pytest.fixture
def undisturbed(project: MakeProject, tracked: Track) -> tuple[Settings, dict[str, NDArray[np.generic]]]:
    """A project, and the weights of its blend under horovodrun with two ranks."""
    settings = tracked(project([BLEND], cyclic_likes(users=40)))
    assert "restart" not in train(settings)
    return settings, blend_weights(settings)


def assert_equal(found: dict[str, NDArray[np.generic]], right: dict[str, NDArray[np.generic]]) -> None:
    assert found.keys() == right.keys()
    assert {Path(name).parent.name for name in found} >= {"", "sequence", "als"}
    for name, array in right.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_rank_of_horovodrun_that_is_killed(
    undisturbed: tuple[Settings, dict[str, NDArray[np.generic]]],
) -> None:
    settings, right = undisturbed
    output = train(settings, kill_a_rank)
    assert "sequence: the ranks ended with exit code" in output
    assert "restart 1 of 2 continues from the last checkpoint" in output
    assert_equal(blend_weights(settings), right)


def test_a_worker_of_a_spark_cluster_that_is_killed_with_its_rank(
    undisturbed: tuple[Settings, dict[str, NDArray[np.generic]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, right = undisturbed
    machine = Machine("127.0.0.1")
    with cluster(tmp_path / "cluster", machine.address) as running:
        for name in ("one", "other"):
            running.start_worker(name, machine)
        monkeypatch.setenv("NIGHTLOOM_PLACES__SPARK", running.url)
        monkeypatch.setenv("NIGHTLOOM_TRAINING__LAUNCHER", "spark")

        def kill_a_worker(_: Process) -> None:
            assert running.kill("other") == 1
            running.start_worker("third", machine)

        output = train(settings, kill_a_worker)
    assert "restart 1 of 2 continues from the last checkpoint" in output
    assert_equal(blend_weights(settings), right)
