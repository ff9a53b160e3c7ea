"""nightloom.topk against one plain f32 GEMM of the same size and against GEMM + argpartition, in one run.

Synthetic factors whose norms are skewed as trained ones are; pairs of runs, the median of the ratios. Last line: JSON.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from nightloom.topk import topk


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("users", 20_000), ("items", 20_000), ("d", 64), ("k", 100), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    size = parser.parse_args()
    draw = np.random.default_rng(0)
    users_UD = draw.standard_normal((size.users, size.d), dtype=np.float32)
    items_ID = draw.standard_normal((size.items, size.d), dtype=np.float32)
    items_ID *= draw.lognormal(0.0, 0.6, (size.items, 1)).astype(np.float32)
    block = 512  # users at a time: the whole product need not fit in memory

    def gemm() -> None:
        for u in range(0, size.users, block):
            users_UD[u : u + block] @ items_ID.T

    def gemm_and_argpartition() -> None:
        for u in range(0, size.users, block):
            np.argpartition(users_UD[u : u + block] @ items_ID.T, size.items - size.k, axis=1)

    methods = {"gemm": gemm, "numpy": gemm_and_argpartition, "topk": lambda: topk(users_UD, items_ID, size.k)}
    runs = [{name: seconds(work) for name, work in methods.items()} for _ in range(size.rounds)]
    table = Table(
        "method", "seconds (median)", title=f"{size.users:,} users x {size.items:,} items, d {size.d}, k {size.k}"
    )
    for name in methods:
        table.add_row(name, f"{statistics.median(run[name] for run in runs):.2f}")
    Console().print(table)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    ratios = {
        f"vs_{peer}": round(statistics.median(run["topk"] / run[peer] for run in runs), 3) for peer in ("gemm", "numpy")
    }
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
