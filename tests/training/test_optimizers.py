"""Optimizers without torch's compiler: torch's own steps, and no import of it."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from training.trainers import optimizers


def weights_after_steps(optimizer_class: Any, sparse: bool) -> list[float]:
    """Of an embedding, after three steps with other gradients and rates, the last one from a saved state."""
    torch.manual_seed(0)
    table = torch.nn.Embedding(5, 3, sparse=sparse)
    optimizer = optimizer_class(table.parameters(), lr=0.1)
    for step in range(3):
        if step == 2:
            saved, optimizer = optimizer.state_dict(), optimizer_class(table.parameters(), lr=0.1)
            optimizer.load_state_dict(saved)
        optimizer.zero_grad()
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        table(torch.tensor([step, 4])).square().sum().backward()
        optimizer.step()
    weights: list[float] = table.weight.detach().flatten().tolist()
    return weights


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SparseAdam"])
def test_the_steps_are_torchs_own(name: str) -> None:
    ours, theirs = (weights_after_steps(getattr(of, name), name == "SparseAdam") for of in (optimizers, torch.optim))
    assert ours == theirs


TRAININGS = """
import sys
from tests.models.checkerboard import EXAMPLES, PARAMS
from training import trainers
for name, more in (("sequence", {}), ("sequence", {"negatives": 3}), ("two_tower", {})):
    trainers.fit(name, EXAMPLES, {**PARAMS[name], "epochs": 1, **more})
print("torch._dynamo" in sys.modules)
"""


def test_no_training_imports_torchs_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", TRAININGS], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
