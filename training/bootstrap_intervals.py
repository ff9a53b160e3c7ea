"""How sure a mean over users is: bootstrap intervals."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.ranking_metrics import F64

TOGETHER = 32
"""Draws counted in one product: the values pass through the memory once for so many."""


@dataclass(frozen=True)
class Interval:
    low: float
    mean: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def intervals(values_TM: F64, *, seed: int, draws: int = 2000, level: float = 0.95) -> list[Interval]:
    """Of M columns the mean over users, and its bootstrap interval; nan: that user does not count in that column.

    Users are drawn again with replacement, `draws` times; the same users for all columns. A column of differences gives
    a paired comparison. Needs a user at least.
    """
    there_TM = ~np.isnan(values_TM)
    columns_TN = np.hstack([np.where(there_TM, values_TM, 0), there_TM])
    sums_DN = np.vstack(list(_drawn(columns_TN, np.random.default_rng(seed), draws)))
    whole_N, columns = columns_TN.sum(axis=0), values_TM.shape[1]
    with np.errstate(invalid="ignore"):  # 0 / 0: a draw without any user of a small segment
        means_DM, mean_M = sums_DN[:, :columns] / sums_DN[:, columns:], whole_N[:columns] / whole_N[columns:]
    edges = [(1 - level) / 2, (1 + level) / 2]
    return [
        Interval(float(low), float(mean), float(high)) if counted else Interval(np.nan, np.nan, np.nan)
        for mean, counted, (low, high) in zip(
            mean_M, whole_N[columns:], (_quantiles(means_D, edges) for means_D in means_DM.T), strict=True
        )
    ]


def _quantiles(means_D: F64, edges: list[float]) -> tuple[float, float]:
    there = means_D[~np.isnan(means_D)]
    low, high = np.quantile(there, edges) if len(there) else (np.nan, np.nan)
    return float(low), float(high)


def _drawn(columns_TN: F64, rng: np.random.Generator, draws: int) -> Iterator[F64]:
    """Sums of the columns over users drawn with replacement, some draws at a time."""
    users = len(columns_TN)
    for start in range(0, draws, TOGETHER):
        now = min(TOGETHER, draws - start)
        times_DT = np.stack([np.bincount(rng.integers(0, users, users), minlength=users) for _ in range(now)])
        yield times_DT.astype(np.float64) @ columns_TN
