"""Ranks inside a real Spark cluster on this machine: a master and two workers with one core each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nightloom import settings as settings_module
from tests.spark_cluster import Machine, cluster
from tests.training.rank_launcher import cyclic_likes, read_output, sequence_section, training
from tests.training.small_project import MakeProject
from tests.training.test_elastic import assert_same_weights


@pytest.fixture
def master(tmp_path: Path) -> Iterator[str]:
    """URL of the master."""
    with cluster(tmp_path / "cluster", "127.0.0.1") as running:
        for name in ("one", "other"):
            running.start_worker(name, Machine("127.0.0.1"))
        yield running.url


@pytest.mark.slow
def test_ranks_inside_a_spark_cluster_train_the_same_model_as_horovodrun(
    project: MakeProject, master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = project([sequence_section(epochs=3)], cyclic_likes(users=40))
    with training(settings, 2, tmp_path / "horovodrun") as process:
        read_output(process)
    monkeypatch.setenv("NIGHTLOOM_PLACES__SPARK", master)
    monkeypatch.setenv("NIGHTLOOM_TRAINING__LAUNCHER", "spark")
    with training(settings_module.load(settings.file), 2, tmp_path / "spark") as process:
        read_output(process)
    assert_same_weights(tmp_path / "horovodrun", tmp_path / "spark")
