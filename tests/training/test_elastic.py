"""Ranks and whole trainings that are ended by SIGKILL: what was committed is not lost, and the end is as good."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightloom.contracts import INTERACTIONS
from nightloom.settings import Settings
from tests.training.ranks import chain, kill, ndcg, of_ranks, said, sequence, training, weights
from tests.training.small import MakeProject, night_of
from training import checkpoints, fit


def test_a_training_left_in_the_middle_goes_on_to_the_weights_of_one_undisturbed(
    project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = project([sequence(epochs=6)], chain(users=40))
    night = night_of(settings)
    task, spec = fit.task_of(night, night.lake.version(INTERACTIONS)), settings.models[0]
    fit.fit(task, spec, tmp_path / "calm")
    write = checkpoints.write

    def left(folder: Path, epochs: int, *state: Any) -> None:
        if epochs == 4:
            raise KeyboardInterrupt
        write(folder, epochs, *state)

    monkeypatch.setattr(checkpoints, "write", left)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(task, spec, tmp_path / "left")
    monkeypatch.setattr(checkpoints, "write", write)
    capsys.readouterr()
    fit.fit(task, spec, tmp_path / "left")
    assert epochs_of(capsys.readouterr().out) == [4, 5, 6]
    assert [one["epoch"] for one in fit.read(tmp_path / "left").curve] == [1, 2, 3, 4, 5, 6]
    same(tmp_path / "calm", tmp_path / "left")


@pytest.mark.slow
def test_ranks_that_were_killed_together_go_on_to_the_weights_of_undisturbed_ones(
    project: MakeProject, tmp_path: Path
) -> None:
    settings = project([sequence(epochs=8)], chain(users=40))
    with training(settings, 2, tmp_path / "calm") as calm:
        said(calm)
    with training(settings, 2, tmp_path / "killed") as first:
        said(first, until="epoch 3,")
        kill(first)
    with training(settings, 2, tmp_path / "killed") as second:
        told = said(second)
    assert "epoch 2," not in told
    assert [one["epoch"] for one in fit.read(tmp_path / "killed").curve] == [1, 2, 3, 4, 5, 6, 7, 8]
    same(tmp_path / "calm", tmp_path / "killed")


def same(one: Path, other: Path) -> None:
    """Two trained models are bit for bit the same."""
    found = weights(one), weights(other)
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_array_equal(found[1][name], array, err_msg=name)


@pytest.fixture
def elastic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_TRAINING__MIN_RANKS", "1")


@pytest.mark.usefixtures("elastic")
def test_a_rank_killed_in_the_middle_leaves_the_others_to_end_as_well(project: MakeProject, tmp_path: Path) -> None:
    settings = project([sequence(epochs=30)], chain(users=200))
    told = with_a_rank_killed(settings, 1, tmp_path / "model")
    assert epochs_of(told)[0] in (10, 11)  # the last commit, and not the start
    assert ndcg(settings, tmp_path / "model") > 0.99


@pytest.mark.slow
@pytest.mark.usefixtures("elastic")
def test_rank_0_is_replaced_when_lost_and_the_end_is_as_good_as_undisturbed(
    project: MakeProject, tmp_path: Path
) -> None:
    settings = project([sequence(epochs=300)], chain(users=300))
    with training(settings, 2, tmp_path / "calm") as calm:
        said(calm)
    told = with_a_rank_killed(settings, 0, tmp_path / "model")
    assert "rank 0 of 1:" in told
    assert "rank 1 of 2:" in told  # the one that came for it
    assert [one["epoch"] for one in fit.read(tmp_path / "model").curve] == list(range(1, 301))
    assert ndcg(settings, tmp_path / "model") == pytest.approx(ndcg(settings, tmp_path / "calm"), rel=0.01)


def with_a_rank_killed(settings: Settings, rank: int, folder: Path) -> str:
    """Train on two ranks, kill one after the tenth epoch; what was said from then on."""
    with training(settings, 2, folder) as process:
        said(process, until="epoch 10,")
        of_ranks(process)[rank].kill()
        return said(process)


def epochs_of(told: str) -> list[int]:
    return [int(found) for found in re.findall(r"epoch (\d+),", told)]
