"""Training the two towers: the same bits again, rows that a step touches, from the lake on any number of ranks."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from models.two_tower import TwoTower
from nightloom.contracts import INTERACTIONS, ITEMS, USERS
from nightloom.places import folder_of
from tests.models.tastes import IDS, PEOPLE, fitted, newcomer, scores, taste_of, tastes
from tests.training.small_project import MakeProject, event, night_of
from tests.training.test_features import item, user
from training import distributed, fit, launch
from training.features import FeatureVersions
from training.trainers.row_adagrad import RowAdagrad


def test_the_same_examples_give_the_same_bits() -> None:
    model, again = fitted(tastes()), fitted(tastes())
    np.testing.assert_array_equal(again.items_ID, model.items_ID)
    np.testing.assert_array_equal(again.user_features_WD, model.user_features_WD)


def test_row_adagrad_changes_only_rows_with_a_gradient_by_their_own_squares() -> None:
    table = torch.nn.Parameter(torch.zeros(1000, 2))
    optimizer = RowAdagrad([table], lr=0.5)
    for gradient in ([3.0, 4.0], [6.0, 8.0]):
        optimizer.zero_grad()
        touched = torch.nn.functional.embedding(torch.tensor([7, 7]), table, sparse=True)
        (touched.sum(dim=0) @ torch.tensor(gradient) / 2).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    first, second = 12.5**0.5, 62.5**0.5  # the root of the squares' mean, summed over the steps
    np.testing.assert_allclose(table[7].detach(), [-0.5 * (3 / first + 6 / second), -0.5 * (4 / first + 8 / second)])
    assert table.detach().abs().sum(dim=1).count_nonzero() == 1
    assert optimizer.state[table]["squares"].shape == (1000,)


SECTION = """
[[models]]
name = "two_tower"
params = { factors = 8, epochs = 12, batch = 60, negatives = 10, buckets = 1024, learning_rate = 0.1 }
"""


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_from_the_lake_on_any_number_of_ranks(ranks: int, project: MakeProject, tmp_path: Path) -> None:
    known = tastes()
    events = zip(known.histories.rows_N.tolist(), IDS[known.histories.items].tolist(), strict=True)
    settings = project([SECTION], [event(f"u{n:02}", one, 3 + n / 100 + k / 1000) for k, (n, one) in enumerate(events)])
    lake = night_of(settings).lake
    lake.append(ITEMS, [item(one, taste_of(one)) for one in IDS.tolist()])
    lake.append(USERS, [user(f"u{n:02}", likes="ab"[n % 2]) for n in range(PEOPLE)])
    task = replace(
        fit.task_of(night_of(settings), lake.version(INTERACTIONS)),
        features=FeatureVersions(lake.version(ITEMS), lake.version(USERS)),
    )
    command = launch.rank_command(settings, task, settings.models[0], tmp_path / "out", ranks)
    environment = os.environ | distributed.environment(ranks, settings.training)
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    model = models.load(folder_of(fit.read(tmp_path / "out").files))
    assert isinstance(model, TwoTower)
    for taste in "ab":
        found = scores(model, newcomer(model, [], [f"likes={taste}"]))[0]
        other = "b" if taste == "a" else "a"
        assert found[model.item_ids == f"cold-{taste}"] > found[model.item_ids == f"cold-{other}"]
