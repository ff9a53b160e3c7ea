"""The AtMost effects of a plan as the kernel takes them: each item is in some groups, each group has a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa

from nightloom.slate.arrays import I32, I64, Bools
from nightloom.slate.effects import AtMost
from nightloom.slate.item_values import ItemValues

NO_LIMIT = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Limits:
    """The groups of all limits, those of one rule after those of another."""

    groups: ItemValues
    rule_G: I32
    at_most_G: I32
    within_list_G: Bools

    @classmethod
    def merge(cls, found: Sequence[tuple[int, AtMost]], items: int) -> Limits:
        """From the effects of a plan, each with the number of its rule, over so many items."""
        nothing = ItemValues(np.zeros(items + 1, np.int64), np.zeros(0, np.int32), pa.array([], pa.string()))
        groups = reduce(ItemValues.merge, [each.groups for _, each in found], nothing)
        lengths = np.array([len(each.groups.names) for _, each in found], np.int64)
        columns = [rule for rule, _ in found], [e.at_most for _, e in found], [e.within_list for _, e in found]
        rule_G, at_most_G, within_list_G = (np.repeat(np.array(column), lengths) for column in columns)
        return cls(groups, rule_G.astype(np.int32), at_most_G.astype(np.int32), within_list_G.astype(np.bool_))

    def arguments(self, rules: int) -> tuple[I64, I32, I32, Bools]:
        """The kernel's `limits` by the first rules."""
        limits = np.where(self.rule_G < rules, self.at_most_G, NO_LIMIT).astype(np.int32)
        return self.groups.indptr, self.groups.values, limits, self.within_list_G
