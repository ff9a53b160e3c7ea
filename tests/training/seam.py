"""One rank's part of the tests of training/distributed.py, run under horovodrun; prints what it found as JSON.

`python -m tests.training.seam ROWS`: ROWS x 8 is the table that gets sparse gradients.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import psutil
import torch

from training import distributed

STEPS = 4


def resident() -> int:
    """Bytes of this process that are in memory."""
    return psutil.Process().memory_info().rss


def dense(group: distributed.Group, compression: str) -> list[float]:
    """Weights after a step of size 1 from zero: less the mean of the ranks' gradients, which are 1/3 and 1/7."""
    group.compression = compression
    model = torch.nn.Linear(4, 1, bias=False)
    torch.nn.init.constant_(model.weight, float(group.rank))
    optimizer = group.optimizer(torch.optim.SGD(model.parameters(), lr=1.0), model)
    group.resume(model, optimizer)
    model(torch.full((1, 4), 1 / (3 + 4 * group.rank))).sum().backward()
    optimizer.step()
    return [float(weight) for weight in model.weight[0]]


def sparse(group: distributed.Group, rows: int) -> dict[str, Any]:
    """A few steps that touch row 5 twice, one of the rank's own and the last; what moved, seconds and memory."""
    model = torch.nn.Embedding(rows, 8, sparse=True, _weight=torch.zeros(rows, 8))
    optimizer = group.optimizer(torch.optim.SparseAdam(model.parameters(), lr=0.1), model)
    group.resume(model, optimizer)
    before, seconds = 0, []
    for step in range(STEPS):
        if step == 1:  # the first one made what the optimizer remembers, twice the table
            before = resident()
        began = time.monotonic()
        optimizer.zero_grad()
        model(torch.tensor([5, 5, 7 + group.rank, rows - 1])).sum().backward()
        optimizer.step()
        seconds.append(time.monotonic() - began)
    grown, gradient = resident() - before, model.weight.grad
    assert gradient is not None
    moved = model.weight.detach().abs().sum(dim=1).nonzero().flatten()
    mean = gradient.coalesce()
    return {
        "moved": moved.tolist(),
        "weights": model.weight[moved].sum(dim=1).tolist(),
        "gradient": dict(zip(mean.indices()[0].tolist(), mean.values()[:, 0].tolist(), strict=True)),
        "grown": grown,
        "seconds": sorted(seconds)[STEPS // 2],
    }


def main() -> None:
    group = distributed.group()
    found = {
        "rank": group.rank,
        "sum": group.sum(np.array([1.0, group.rank])).tolist(),
        "mean": group.mean(float(group.rank)),
        "dense": {how: dense(group, how) for how in ("none", "fp16")},
        "sparse": sparse(group, int(sys.argv[1])),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
