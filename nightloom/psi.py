"""The population stability index (PSI): how far two distributions over the same bins differ, and its critical value.

PSI = sum of (p - q) ln(p / q) over the bins' shares now (p) and before (q), the symmetrised Kullback-Leibler
divergence. By convention a value below 0.1 is stable and one above 0.25 is a shift. Small samples differ more: under
one distribution the PSI is about chi-square / (1/n + 1/m) with n and m independent observations (Yurdakul and
Naranjo, 2020, Journal of Risk Model Validation). The events of one person are not independent, so n and m count people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scipy.special import chdtri

SIGNIFICANCE = 0.001
"""Probability that two samples of one distribution exceed the critical value."""
BinCounts = Mapping[Any, float]


def psi(now: BinCounts, before: BinCounts) -> float:
    """Population stability index of two counts by bin. Half an event is added to each bin, so that none is empty."""
    return sum(_term(p, q) for p, q in _shares(now, before).values())


def critical_psi(bins: int, people_now: int, people_before: int) -> float:
    """The PSI that two samples of one distribution exceed once in a thousand times."""
    return float(chdtri(bins - 1, SIGNIFICANCE)) * (1 / people_now + 1 / people_before)


def largest_change(now: BinCounts, before: BinCounts) -> str:
    """A text with the bin that adds most to the PSI, and its shares."""
    name, (p, q) = max(_shares(now, before).items(), key=lambda item: _term(*item[1]))
    return f"most in {name}: {q:.1%} before, {p:.1%} now"


def _term(p: float, q: float) -> float:
    return (p - q) * math.log(p / q)


def _shares(now: BinCounts, before: BinCounts) -> dict[Any, tuple[float, float]]:
    """Bin -> its share now and before."""
    bins = {**now, **before}
    total_now, total_before = (sum(counts.values()) + len(bins) / 2 for counts in (now, before))
    return {each: ((now.get(each, 0) + 0.5) / total_now, (before.get(each, 0) + 0.5) / total_before) for each in bins}
