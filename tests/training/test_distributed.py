"""Horovod for real: two ranks against one process, on the same global batches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nightloom import settings as settings_module
from nightloom.lake import Lake
from nightloom.tables import INTERACTIONS
from tests.training.small import MakeProject, event
from training import distributed, fit
from training.models.sequence_batches import Batch

SEQUENCE = """
[[models]]
name = "sequence"
params = { factors = 8, length = 6, epochs = 3, batch = 5, dropout = 0.2, hidden = 0.2, horizon = 3 }
"""


def fitted(settings: settings_module.Settings, ranks: int, folder: Path) -> fit.Fitted:
    """Train the project's sequence model on so many ranks; what training.fit left."""
    folder.mkdir()
    version = Lake(settings.place("lake")).version(INTERACTIONS)
    command = distributed.command(
        ranks, "training.fit", "--config", str(settings.file), "--date", "2026-03-01",
        "--model", "sequence", "--version", str(version), "--folder", str(folder),
    )  # fmt: skip
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return fit.read(folder)


def test_two_horovod_ranks_give_the_loss_curve_and_model_of_one_process(project: MakeProject, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        event(f"u{u}", f"i{rng.integers(9)}", 3 + rng.random() * 20)
        for u in range(13)
        for _ in range(rng.integers(1, 9))
    ]
    settings = project([SEQUENCE], rows)
    one, two = (fitted(settings, ranks, tmp_path / str(ranks)) for ranks in (1, 2))
    curves = [[epoch["loss"] for epoch in each.curve] for each in (one, two)]
    assert len(curves[0]) == 3
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    for file in sorted((tmp_path / "1" / "model").glob("*.npy")):
        if file.stem != "item_ids":
            np.testing.assert_allclose(
                np.load(tmp_path / "2" / "model" / file.name), np.load(file), atol=1e-4, err_msg=file.stem
            )


@pytest.mark.parametrize(("users", "ranks"), [(7, 2), (8, 2), (1, 4), (5, 3)])
def test_ranks_have_equally_many_rows_and_count_every_user_once(users: int, ranks: int) -> None:
    rows = np.arange(users)[:, None]
    ones = np.ones((users, 1), np.float32)
    whole = Batch(rows, rows, rows, ones, ones, ones)
    shares = [whole.share(rank, ranks) for rank in range(ranks)]
    assert len({len(share.inputs_GL) for share in shares}) == 1
    counted = np.zeros(users)
    for share in shares:
        np.add.at(counted, share.inputs_GL[:, 0], share.weights_GL[:, 0] / ranks)
    np.testing.assert_allclose(counted, 1)


def test_one_rank_needs_no_launcher() -> None:
    assert distributed.command(1, "training.fit") == [sys.executable, "-m", "training.fit"]
