"""The seam to Horovod, and the only file that knows it: who am I among the ranks, average gradients, share weights.

Under `horovodrun` (or any of Horovod's launchers) group() gives the ranks; without, a group of one whose methods do
nothing. A job is the same lines either way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch  # whoever only launches ranks need not wait for it


class Group(Protocol):
    """The processes that train one model together."""

    rank: int
    """0 .. size - 1; rank 0 writes and reports."""
    size: int
    local_rank: int
    """Rank on this machine: which of its GPUs to use."""

    def optimizer(self, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimizer, stepping by the mean of all ranks' gradients."""
        ...

    def share_weights(self, model: torch.nn.Module) -> None:
        """Give every rank the weights of rank 0."""
        ...

    def mean(self, value: float) -> float:
        """Mean over the ranks; every rank must call it."""
        ...


class Alone:
    """A group of one."""

    rank, size, local_rank = 0, 1, 0

    def optimizer(self, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
        return optimizer

    def share_weights(self, model: torch.nn.Module) -> None:
        return

    def mean(self, value: float) -> float:
        return value


class Horovod:
    """The ranks that a Horovod launcher started."""

    def __init__(self) -> None:
        import horovod.torch as hvd  # type: ignore[import-untyped]  # lazily: a group of one does without it
        import torch

        hvd.init()
        self._hvd, self._torch = hvd, torch
        self.rank, self.size, self.local_rank = hvd.rank(), hvd.size(), hvd.local_rank()

    def optimizer(self, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
        wrapped: torch.optim.Optimizer = self._hvd.DistributedOptimizer(
            optimizer, named_parameters=model.named_parameters()
        )
        return wrapped

    def share_weights(self, model: torch.nn.Module) -> None:
        self._hvd.broadcast_parameters(model.state_dict(), root_rank=0)

    def mean(self, value: float) -> float:
        return float(self._hvd.allreduce(self._torch.tensor(value, dtype=self._torch.float64), name="mean"))


@cache
def group() -> Group:
    """The ranks this process is one of."""
    return Horovod() if "HOROVOD_RANK" in os.environ else Alone()


def command(ranks: int, *module_and_arguments: str) -> list[str]:
    """`python -m ...` on so many ranks of this machine: itself for one rank, under horovodrun for more."""
    python = [sys.executable, "-m", *module_and_arguments]
    horovodrun = str(Path(sys.executable).with_name("horovodrun"))
    return python if ranks == 1 else [horovodrun, "-np", str(ranks), "--gloo", *python]


def default_ranks() -> int:
    """As many as there are GPUs that this process may use, else 2."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        gpus = len([device for device in chosen.split(",") if device])
    elif shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
        gpus = listed.stdout.count("GPU ")
    else:
        gpus = 0
    return gpus or 2
