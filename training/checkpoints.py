"""Where a training stands after an epoch, in a file: epochs done, weights, what each optimizer remembers.

The random state needs no keeping: it is set anew after each epoch, from the seed, the epochs done and the rank.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

Commit = dict[str, Any]
NAME = "commit.pt"


def write(folder: Path, epochs: int, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Replace the commit in `folder`; a kill at any moment leaves the old one or the new one."""
    unfinished = folder / f"{NAME}.unfinished"
    states = [optimizer.state_dict() for optimizer in optimizers]
    torch.save({"epochs": epochs, "model": model.state_dict(), "optimizers": states}, unfinished)
    unfinished.replace(folder / NAME)


def read(folder: Path) -> Commit | None:
    """The commit in `folder`, if there is one."""
    file = folder / NAME
    return torch.load(file, map_location="cpu", weights_only=True) if file.exists() else None


def restore(commit: Commit, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Put model and optimizers where they were."""
    model.load_state_dict(commit["model"])
    for optimizer, state in zip(optimizers, commit["optimizers"], strict=True):
        optimizer.load_state_dict(state)


def reseed(seed: int, epochs: int, rank: int) -> None:
    """Set torch's random state: another one for each epoch and rank, the same whenever a training comes to it."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epochs, rank)).generate_state(1)[0]))
