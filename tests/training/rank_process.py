"""One rank of the tests of training/distributed.py, run under horovodrun; prints its results as JSON.

`python -m tests.training.rank_process ROWS`: the table with sparse gradients has ROWS x 8 numbers.
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
    """Weights after a step of size 1 from zero: minus the mean of the ranks' gradients, which are 1/3 and 1/7."""
    group.compression = compression
    model = torch.nn.Linear(4, 1, bias=False)
    torch.nn.init.constant_(model.weight, float(group.rank))
    optimizer = group.optimizer(torch.optim.SGD(model.parameters(), lr=1.0), model)
    group.resume(model, optimizer)
    model(torch.full((1, 4), 1 / (3 + 4 * group.rank))).sum().backward()
    optimizer.step()
    return [float(weight) for weight in model.weight[0]]


def sparse(group: distributed.Group, rows: int) -> dict[str, Any]:
    """Steps with gradients in row 5 (twice), a row of the rank, and the last row -> changes, seconds and memory."""
    model = torch.nn.Embedding(rows, 8, sparse=True, _weight=torch.zeros(rows, 8))
    optimizer = group.optimizer(torch.optim.SparseAdam(model.parameters(), lr=0.1), model)
    group.resume(model, optimizer)
    before, seconds = 0, []
    for step in range(STEPS):
        if step == 1:  # the first step allocates the optimizer's state, twice the table
            before = resident()
        start = time.monotonic()
        optimizer.zero_grad()
        model(torch.tensor([5, 5, 7 + group.rank, rows - 1])).sum().backward()
        optimizer.step()
        seconds.append(time.monotonic() - start)
    growth, gradient = resident() - before, model.weight.grad
    assert gradient is not None
    changed = model.weight.detach().abs().sum(dim=1).nonzero().flatten()
    mean = gradient.coalesce()
    return {
        "changed": changed.tolist(),
        "weights": model.weight[changed].sum(dim=1).tolist(),
        "gradient": dict(zip(mean.indices()[0].tolist(), mean.values()[:, 0].tolist(), strict=True)),
        "growth": growth,
        "seconds": sorted(seconds)[STEPS // 2],
    }


def main() -> None:
    group = distributed.group()
    results = {
        "rank": group.rank,
        "nccl": group.reduces_on_gpus,
        "device": str(group.device),
        "gpus": torch.cuda.device_count(),
        "sum": group.sum(np.array([1.0, group.rank])).tolist(),
        "mean": group.mean(float(group.rank)),
        "dense": {how: dense(group, how) for how in ("none", "fp16")},
        "sparse": sparse(group, int(sys.argv[1])),
    }
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
