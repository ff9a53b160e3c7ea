"""Adagrad with one number per row of a table: what is stored and what is touched grows with neither table nor width.

A sparse gradient moves its rows alone; the rate of a row falls with the mean squares of its own gradients (Duchi,
Hazan, Singer 2011; a number per row as in Naumov et al. 2019, DLRM).
"""

from collections.abc import Callable
from typing import Any

import torch

from training.trainers.optimizers import Eager

TINY = 1e-10


class RowAdagrad(Eager):
    """For embedding tables with sparse=True."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure is used
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._move(table, table.grad.coalesce(), group["lr"])

    def _move(self, table: torch.Tensor, gradient: torch.Tensor, rate: float) -> None:
        state = self.state[table]
        if not state:
            state["squares"] = torch.zeros(len(table), device=table.device)
        rows, values = gradient.indices()[0], gradient.values()
        squares = state["squares"][rows] + values.square().mean(dim=1)
        state["squares"][rows] = squares
        table[rows] -= rate * values / (squares + TINY).sqrt()[:, None]
