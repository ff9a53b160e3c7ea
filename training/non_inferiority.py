"""Non-inferiority: do paired gains show, at a level, that a challenger loses less than a margin?

The test is one-sided: the lower confidence bound of the mean gain must not be below minus the margin (Blackwelder,
"Proving the null hypothesis" in clinical trials, Controlled Clinical Trials 3, 1982). So few users, or much noise,
speak against the challenger. It has to pass on every segment, which needs no correction (an intersection-union test:
Berger, Technometrics 24, 1982). The night promotes the best of n challengers, so the level is Bonferroni's for n.

With few users even an equal model would fail. The margin is therefore never smaller than the loss that so many users
can show: the same article's number of users for a given margin, solved for the margin. It is that of one test at the
level, however many challengers there are: more of them never make it easier to pass. Shapes: T users, nan for those
who do not count.
"""

import math
from statistics import NormalDist

import numpy as np

from training.ranking_metrics import F64

POWER = 0.8
"""The chance of an equal model to pass alone, where the margin is that of the number of users."""


def joint_level(level: float, tests: int) -> float:
    """The one-sided level of each of some tests: none of them errs with probability `level` (Bonferroni)."""
    return 1 - (1 - level) / tests


def detectable_loss(gains_T: F64, level: float) -> float:
    """The smallest mean loss that these users can show; 0 where all gains are equal. Needs two users."""
    values = gains_T[~np.isnan(gains_T)]
    return _quantiles(level) * float(values.std(ddof=1)) / math.sqrt(len(values))


def users_needed(gains_T: F64, margin: float, level: float) -> int | None:
    """How many users with such gains can show a loss of `margin`; None where no number can."""
    return math.ceil((_quantiles(level) * float(np.nanstd(gains_T, ddof=1)) / margin) ** 2) if margin else None


def _quantiles(level: float) -> float:
    """Standard errors between an equal model's mean and the margin: of the level, and of the power."""
    normal = NormalDist()
    return normal.inv_cdf(level) + normal.inv_cdf(POWER)
