"""Training checkpoints: after an epoch, one file with the epochs done, the weights and the optimizers' states.

A checkpoint holds no random state: after each epoch the state is set again, from the seed, the epochs done and the
rank.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nightloom.places import Place, replacement

Checkpoint = dict[str, Any]
FILE_NAME = "checkpoint.pt"


def write(folder: Place, epochs: int, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Replace the checkpoint in `folder`. A kill at any moment leaves the old one or the new one."""
    states = [optimizer.state_dict() for optimizer in optimizers]
    with replacement(folder / FILE_NAME) as opened:
        torch.save({"epochs": epochs, "model": model.state_dict(), "optimizers": states}, opened)


def read(folder: Place) -> Checkpoint | None:
    """The checkpoint in `folder`, None if there is none."""
    file = folder / FILE_NAME
    if not file.exists():
        return None
    with file.open("rb") as opened:
        loaded: Checkpoint = torch.load(opened, map_location="cpu", weights_only=True)
        return loaded


def restore(checkpoint: Checkpoint, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Load the checkpoint's weights and states into model and optimizers."""
    model.load_state_dict(checkpoint["model"])
    for optimizer, state in zip(optimizers, checkpoint["optimizers"], strict=True):
        optimizer.load_state_dict(state)


def reseed(seed: int, epochs: int, rank: int) -> None:
    """Seed torch for the next epoch of a rank: each has its own numbers, and a resumed training draws the same."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epochs, rank)).generate_state(1)[0]))
