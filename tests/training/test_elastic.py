"""Ranks and trainings that SIGKILL ends: checkpoints are not lost, and the model is as good."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightloom.contracts import INTERACTIONS
from nightloom.settings import Settings
from tests.training.rank_launcher import (
    cyclic_likes,
    kill,
    ndcg,
    rank_processes,
    read_output,
    sequence_section,
    training,
    weights,
)
from tests.training.small_project import MakeProject, night_of
from training import checkpoints, fit
from training.trainers.sequence import REFIT_SHARE


def test_an_interrupted_training_resumes_to_the_weights_of_an_uninterrupted_one(
    project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = project([sequence_section(epochs=6)], cyclic_likes(users=40))
    night = night_of(settings)
    task, spec = fit.task_of(night, night.lake.version(INTERACTIONS)), settings.models[0]
    fit.fit(task, spec, tmp_path / "uninterrupted")
    write = checkpoints.write

    def interrupted_write(folder: Path, epochs: int, *state: Any) -> None:
        if epochs == 4:
            raise KeyboardInterrupt
        write(folder, epochs, *state)

    monkeypatch.setattr(checkpoints, "write", interrupted_write)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(task, spec, tmp_path / "interrupted")
    monkeypatch.setattr(checkpoints, "write", write)
    capsys.readouterr()
    fit.fit(task, spec, tmp_path / "interrupted")
    assert epochs_of(capsys.readouterr().out) == [4, 5, 6]
    assert [one["epoch"] for one in fit.read(tmp_path / "interrupted").curve] == [1, 2, 3, 4, 5, 6]
    assert_same_weights(tmp_path / "uninterrupted", tmp_path / "interrupted")


@pytest.mark.slow
def test_ranks_that_were_killed_together_resume_to_the_weights_of_uninterrupted_ones(
    project: MakeProject, tmp_path: Path
) -> None:
    settings = project([sequence_section(epochs=8)], cyclic_likes(users=40))
    with training(settings, 2, tmp_path / "uninterrupted") as uninterrupted:
        read_output(uninterrupted)
    with training(settings, 2, tmp_path / "killed") as first:
        read_output(first, until="epoch 3,")
        kill(first)
    with training(settings, 2, tmp_path / "killed") as second:
        output = read_output(second)
    assert "epoch 2," not in output
    assert [one["epoch"] for one in fit.read(tmp_path / "killed").curve] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert_same_weights(tmp_path / "uninterrupted", tmp_path / "killed")


@pytest.mark.slow
def test_ranks_of_a_refit_that_were_killed_resume_to_the_weights_of_an_undisturbed_one(
    project: MakeProject, tmp_path: Path
) -> None:
    settings = project([sequence_section(epochs=16)], cyclic_likes(users=40))
    with training(settings, 2, tmp_path / "judged") as first:
        read_output(first)
    judged = tmp_path / "judged" / "files"
    with training(settings, 2, tmp_path / "undisturbed", earlier=judged) as undisturbed:
        read_output(undisturbed)
    with training(settings, 2, tmp_path / "killed", earlier=judged) as second:
        read_output(second, until="epoch 3,")
        kill(second)
    with training(settings, 2, tmp_path / "killed", earlier=judged) as third:
        output = read_output(third)
    assert "epoch 2," not in output
    epochs = math.ceil(REFIT_SHARE * 16)
    assert [one["epoch"] for one in fit.read(tmp_path / "killed").curve] == list(range(1, epochs + 1))
    assert_same_weights(tmp_path / "undisturbed", tmp_path / "killed")


def assert_same_weights(one: Path, other: Path) -> None:
    """Two trained models have equal arrays, bit for bit."""
    found = weights(one), weights(other)
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_array_equal(found[1][name], array, err_msg=name)


@pytest.fixture
def elastic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_TRAINING__MIN_RANKS", "1")


@pytest.mark.usefixtures("elastic")
def test_after_a_rank_is_killed_the_others_finish_with_a_good_model(project: MakeProject, tmp_path: Path) -> None:
    settings = project([sequence_section(epochs=30)], cyclic_likes(users=200))
    output = train_and_kill(settings, 1, tmp_path / "model")
    assert epochs_of(output)[0] in (10, 11)  # from the last checkpoint, not from the start
    assert ndcg(settings, tmp_path / "model") > 0.99


@pytest.mark.slow
@pytest.mark.usefixtures("elastic")
def test_a_lost_rank_0_is_replaced_and_the_model_is_as_good(project: MakeProject, tmp_path: Path) -> None:
    settings = project([sequence_section(epochs=300)], cyclic_likes(users=300))
    with training(settings, 2, tmp_path / "uninterrupted") as uninterrupted:
        read_output(uninterrupted)
    output = train_and_kill(settings, 0, tmp_path / "model")
    assert "rank 0 of 1:" in output
    assert "rank 1 of 2:" in output  # the rank that replaced it
    assert [one["epoch"] for one in fit.read(tmp_path / "model").curve] == list(range(1, 301))
    assert ndcg(settings, tmp_path / "model") == pytest.approx(ndcg(settings, tmp_path / "uninterrupted"), rel=0.01)


def train_and_kill(settings: Settings, rank: int, folder: Path) -> str:
    """Train on two ranks, kill one after the tenth epoch -> output from then on."""
    with training(settings, 2, folder) as process:
        read_output(process, until="epoch 10,")
        rank_processes(process)[rank].kill()
        return read_output(process)


def epochs_of(output: str) -> list[int]:
    return [int(found) for found in re.findall(r"epoch (\d+),", output)]
