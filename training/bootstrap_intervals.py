"""Percentile bootstrap intervals of means over users (Efron and Tibshirani, An Introduction to the Bootstrap, 1993)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.ranking_metrics import F64

DRAWS_PER_BLOCK = 32
"""Resamples per matrix product: the values pass through memory once for all of them."""


@dataclass(frozen=True)
class Interval:
    """A mean, and the ends of its interval."""

    low: float
    mean: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def bootstrap_intervals(
    values_TM: F64, *, seed: int, draws: int = 2000, level: float | Sequence[float] = 0.95
) -> list[Interval]:
    """For each of M columns the mean over T users (at least one), and its bootstrap interval.

    `level` is two-sided: one for all columns, or one for each. A column leaves out the users whose value in it is nan;
    a column of nan has an interval of nan. Users are resampled with replacement, `draws` times, the same users for all
    columns. A column of differences gives a paired comparison.
    """
    counted_TM = ~np.isnan(values_TM)
    columns_TN = np.hstack([np.where(counted_TM, values_TM, 0), counted_TM])
    sums_DN = np.vstack(list(_resampled_sums(columns_TN, np.random.default_rng(seed), draws)))
    totals_N, columns = columns_TN.sum(axis=0), values_TM.shape[1]
    with np.errstate(invalid="ignore"):  # 0 / 0: a resample without any user of a small segment
        means_DM, mean_M = sums_DN[:, :columns] / sums_DN[:, columns:], totals_N[:columns] / totals_N[columns:]
    level_M = np.broadcast_to(level, columns)
    ends = [_ends(means_D, own) for means_D, own in zip(means_DM.T, level_M.tolist(), strict=True)]
    return [
        Interval(low, float(mean), high) if count else Interval(np.nan, np.nan, np.nan)
        for mean, count, (low, high) in zip(mean_M, totals_N[columns:], ends, strict=True)
    ]


def _ends(means_D: F64, level: float) -> tuple[float, float]:
    valid = means_D[~np.isnan(means_D)]
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2]) if len(valid) else (np.nan, np.nan)
    return float(low), float(high)


def _resampled_sums(columns_TN: F64, rng: np.random.Generator, draws: int) -> Iterator[F64]:
    """Sums of the columns over users drawn with replacement: blocks of DRAWS_PER_BLOCK x N."""
    users = len(columns_TN)
    for start in range(0, draws, DRAWS_PER_BLOCK):
        block = min(DRAWS_PER_BLOCK, draws - start)
        counts_DT = np.stack([np.bincount(rng.integers(0, users, users), minlength=users) for _ in range(block)])
        yield counts_DT.astype(np.float64) @ columns_TN
