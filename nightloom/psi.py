"""The population stability index (PSI): how far two counts by bin differ, and how far chance alone moves them.

Sum of (p - q) ln(p / q) over the bins' shares now (p) and before (q). Below 0.1 is usually called steady, above 0.25 a
shift. A few people differ from many by chance alone, and what one person does in an evening is one choice rather than a
hundred: the PSI of two samples of one population is about chi-square / (1/n + 1/m), with n and m people and not events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scipy.special import chdtri

BY_CHANCE = 0.001
Bins = Mapping[Any, float]


def psi(now: Bins, before: Bins) -> float:
    """Population stability index of two counts by bin. Half an event is added to each bin, so that none is empty."""
    return sum(_part(p, q) for p, q in _shares(now, before).values())


def by_chance(bins: int, people_now: int, people_before: int) -> float:
    """The PSI that two samples of one population exceed once in a thousand times."""
    return float(chdtri(bins - 1, BY_CHANCE)) * (1 / people_now + 1 / people_before)


def most_changed(now: Bins, before: Bins) -> str:
    """The bin that adds most to the PSI, in words."""
    name, (p, q) = max(_shares(now, before).items(), key=lambda each: _part(*each[1]))
    return f"most in {name}: {q:.1%} before, {p:.1%} now"


def _part(p: float, q: float) -> float:
    return (p - q) * math.log(p / q)


def _shares(now: Bins, before: Bins) -> dict[Any, tuple[float, float]]:
    """Bin -> its share now and before."""
    bins = {**now, **before}
    all_now, all_before = (sum(counts.values()) + len(bins) / 2 for counts in (now, before))
    return {each: ((now.get(each, 0) + 0.5) / all_now, (before.get(each, 0) + 0.5) / all_before) for each in bins}
