"""One user's list, rebuilt as a night makes it, by no rule, the first, ..., all; and where each rule put an item.

History, model, compiled rules -> Replay. Nothing is published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.base import Model
from nightloom.settings import Settings
from nightloom.slate.plan import Plan
from nightloom.slate.rule import SlateRule
from nightloom.slate.slates import Slates
from serving.history import UserProfile
from spark_jobs.slate_scoring import make_slates

BATCH = pa.schema([
    ("user_id", pa.string()), ("items", pa.list_(pa.string())), ("weights", pa.list_(pa.float32())),
    ("seconds", pa.list_(pa.int64())), ("attributes", pa.list_(pa.string())),
])  # fmt: skip


@dataclass(frozen=True)
class Move:
    """What one rule did to one item's place, itself or by what it did to others; places count from 1, None: none."""

    rule: str
    kind: str
    before: int | None
    """By the rules that apply before it."""
    after: int | None
    explanation: str
    """What the rule does, in the words of its settings."""


@dataclass(frozen=True)
class Replay:
    """One user's lists; step n is the list by the first n rules."""

    plan: Plan
    """In the model's item order."""
    known: int
    """How many items the model knows."""
    slates: Slates
    rules: dict[str, SlateRule]
    """By name."""

    def items(self, step: int = -1) -> list[str]:
        found = self.slates.items(step)[0]
        return [str(item) for item in self.plan.ids.take(pa.array(found[found >= 0])).to_pylist()]

    def scores(self, step: int = -1) -> list[float]:
        return [float(score) for score in self.slates.scores(step)[0][self.slates.items(step)[0] >= 0]]

    def place(self, item: str, step: int = -1) -> int | None:
        """From 1; None: not in the list."""
        items = self.items(step)
        return items.index(item) + 1 if item in items else None

    def by_score(self, item: str) -> int | None:
        """Place by score alone, also beyond the list's end; None: not among the user's best, or of no score."""
        best = self.slates.items_BX[0, : min(self.plan.pool, self.known)]
        there = np.flatnonzero(best == self.plan.ids.index(item).as_py())
        return int(there[0]) + 1 if len(there) else None

    def moves(self, item: str) -> list[Move]:
        """The rules that changed the item's place, in their order."""
        places = [self.place(item, step) for step in range(len(self.plan.names) + 1)]
        steps = zip(self.plan.names, places, places[1:], strict=False)
        return [self._move(name, before, after) for name, before, after in steps if before != after]

    def _move(self, name: str, before: int | None, after: int | None) -> Move:
        rule = self.rules[name]
        return Move(name, rule.kind(), before, after, rule.explanation)

    def lifted_by(self, item: str) -> str | None:
        """The last rule that put the item above another one that is still below it."""
        for number in reversed(range(len(self.plan.names))):
            before, after = self.items(number), self.items(number + 1)
            above = before[: before.index(item)] if item in before else before
            if item in after and set(above) & set(after[after.index(item) :]):
                return self.plan.names[number]
        return None


def replay_list(settings: Settings, model: Model, plan: Plan, who: UserProfile) -> Replay:
    """The lists of a user by a night's whole plan."""
    row = {
        "user_id": who.user, "items": [event["item_id"] for event in who.events],
        "weights": [event["weight"] for event in who.events],
        "seconds": [int(event["at"].timestamp()) for event in who.events], "attributes": who.attributes,
    }  # fmt: skip
    mine = plan.for_items(model.item_ids)
    slates = make_slates(model, mine, pa.RecordBatch.from_pylist([row], schema=BATCH))
    return Replay(mine, len(model.item_ids), slates, dict(settings.slate.rules))
