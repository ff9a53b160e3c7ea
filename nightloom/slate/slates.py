"""Lists of a block of users by no rule, by the first rule, ..., by all rules; and what each rule did to them.

Relevance is a user's score on a scale of its own: 1 for the best candidate, 0 for the last. A rule's effect is the
difference it makes when it is added after the rules above it: so their costs add up to the cost of them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightloom.slate.arrays import F32, F64, I32

STATISTICS = 4
"""Numbers of each rule: lists changed, entries brought to first pages, score and relevance that first pages lost."""


@dataclass(frozen=True)
class Slates:
    """Lists as columns of the candidates, -1: none."""

    items_BX: I32
    scores_BX: F32
    relevance_BX: F64
    """0 without a score."""
    span_B: F64
    """The score of a relevance of 1, above that of 0."""
    steps: list[I32]
    """R + 1 times B x K."""
    k: int

    def items(self, step: int = -1) -> I32:
        """B x K: the lists after so many rules."""
        return _at(self.items_BX, self.steps[step], -1)

    def scores(self, step: int = -1) -> F32:
        """Their scores; an item that the model does not know has that of the user's last candidate."""
        return _at(self.scores_BX, self.steps[step], np.float32(0))

    @cached_property
    def rule_statistics(self) -> F64:
        """R x STATISTICS."""
        pages = [step[:, : self.k] for step in self.steps]
        rows = []
        for number in range(1, len(self.steps)):
            before, after = pages[number - 1], pages[number]
            brought = (after[:, :, None] != before[:, None, :]).all(axis=2) & (after >= 0)
            changed = (self.steps[number] != self.steps[number - 1]).any(axis=1)
            lost_B = (_at(self.relevance_BX, before, 0) - _at(self.relevance_BX, after, 0)).sum(axis=1)
            rows.append([changed.sum(), brought.sum(), (lost_B * self.span_B).sum(), lost_B.sum()])
        return np.array(rows, np.float64).reshape(-1, STATISTICS)

    @property
    def relevance(self) -> float:
        """The relevance of all first pages by score alone."""
        return float(_at(self.relevance_BX, self.steps[0][:, : self.k], 0).sum())


def _at(values_BX: NDArray[Any], columns_BK: I32, nothing: Any) -> NDArray[Any]:
    found = np.take_along_axis(values_BX, np.maximum(columns_BK, 0), axis=1)
    return np.where(columns_BK >= 0, found, nothing).astype(values_BX.dtype)
