"""Compiled slate rules -> each user's list, for a block of users at a time. Shapes as in arrays.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from nightloom.slate.arrays import F32, I32, I64, Bools
from nightloom.slate.candidates import Candidates, Scale, UserBlock
from nightloom.slate.effects import Likeness, PinnedPlace, RelevanceAddition, ReservedPlaces
from nightloom.slate.kernel import drop_seen, fill
from nightloom.slate.plan import Plan
from nightloom.slate.slates import Slates

DEEPER = 8
"""A user with a short list, or with few candidates that no rule hides, gets so many times the candidates."""
SPARE = 4
"""So many items without a score are offered for each place: the user may have seen some of them."""


class BestItems(Protocol):
    """Gives the k best items of some users (`rows`) by a model: B x k items, -1 where there is none, and scores."""

    def __call__(self, k: int, rows: I64, allowed: Bools, /) -> tuple[I32, F32]: ...


def apply_rules(plan: Plan, known: int, best: BestItems, users: UserBlock) -> Slates:
    """The users' lists after each rule of a plan, which is over the model's `known` items and then the others."""
    return _Application(plan, known, best, users).slates()


@dataclass(frozen=True)
class _Application:
    """The rules at work for a block of users."""

    plan: Plan
    """Over a model's items and then the others."""
    known: int
    """How many items the model knows."""
    best: BestItems
    users: UserBlock

    @cached_property
    def user_values_BF(self) -> I32:
        """What each user's attributes say to each effect that hides items."""
        return self.plan.user_values(self.users.attributes)

    @cached_property
    def reserved(self) -> list[tuple[int, ReservedPlaces, Bools]]:
        """(rule, effect, for which users) of each set of items with reserved places."""
        found = self.plan.effects(ReservedPlaces)
        return [(rule, each, self.users.with_values(each.users)) for rule, each in found]

    @cached_property
    def pins(self) -> list[tuple[int, PinnedPlace, Bools]]:
        """(rule, effect, for which users) of each pinned place."""
        return [(rule, each, self.users.with_values(each.users)) for rule, each in self.plan.effects(PinnedPlace)]

    @cached_property
    def lengthening(self) -> int:
        """How many rules may make a list longer or shorter: all but the last ones that only compare items."""
        rules = self.plan.rules
        last = (n for n, rule in enumerate(rules, 1) if not all(isinstance(each, Likeness) for each in rule.effects))
        return max(last, default=0)

    def slates(self) -> Slates:
        """Each user's lists after every rule: candidates by score, items that rules ask for, then rule by rule."""
        plan, everybody = self.plan, np.arange(len(self.users.ids))
        best = self.best(min(plan.pool, self.known), everybody, plan.available[: self.known])
        first = Candidates(*best, np.full(best[0].shape[1], True))
        scale, scored, unscored = Scale.of(first), list(self._scored(first)), list(self._unscored())
        extras = [*scored, *unscored]
        few_B = plan.visible(first.items, self.user_values_BF).sum(axis=1) < plan.pool / 2
        # Without items that the model does not know: these make no difference to which candidates it gives.
        known = first.append_all(scored, len(plan.ids))
        short_B = (next(self._steps(known, scale, {self.lengthening}))[:, -1] < 0) | few_B
        more_B = (first.items >= 0).all(axis=1) & (first.items.shape[1] < self.known)
        if len(rows := np.flatnonzero(short_B & more_B)):
            first = first.append(self._best_by_class(rows, DEEPER * plan.pool), free=True)
        found = first.append_all(extras, len(plan.ids))
        steps = list(self._steps(found, scale, set(range(len(plan.rules) + 1))))
        relevance, scores = scale.relevance(found)
        shown = np.where(np.isnan(found.scores), 0, relevance)
        return Slates(found.items, scores, shown, scale.span_B, steps, plan.k)

    def _steps(self, found: Candidates, scale: Scale, wanted: set[int]) -> Iterator[I32]:
        """The lists by no rule, by the first, the first two, ...: those of these numbers that are wanted."""
        plan = self.plan
        value_BX, keep_BX = scale.relevance(found)[0], found.items >= 0
        order_BX = np.argsort(-value_BX, axis=1, kind="stable")
        for number in range(len(plan.rules) + 1):
            for column, (rule, keep) in enumerate(plan.keeps):
                if rule == number - 1:
                    keep_BX = keep_BX & keep.keeps(found.items, self.user_values_BF[:, column])
            for rule, addition in plan.effects(RelevanceAddition):
                if rule == number - 1:
                    value_BX = value_BX + addition.add[found.items]
                    order_BX = np.argsort(-value_BX, axis=1, kind="stable")
            if number in wanted:
                shown_BX = np.where(keep_BX, value_BX, -np.inf)
                rules = (plan.limits.arguments(number), self._sets(number), self._pins(found.items, keep_BX, number),
                         self._likeness(number))  # fmt: skip
                yield fill(found.items, shown_BX, order_BX, found.free, plan.stored, plan.k, *rules)

    def _sets(self, rules: int) -> tuple[Bools, I64, Bools]:
        """The kernel's `sets` by the first rules."""
        sets = self.reserved
        member_SA = np.array([each.member for _, each, _ in sets], np.bool_)
        places = [each.places * for_B * (rule < rules) for rule, each, for_B in sets]
        places_BS = np.array(places, np.int64).reshape(len(sets), len(self.users.ids)).T.copy()
        shape = len(sets), len(self.plan.available)
        return member_SA.reshape(shape), places_BS, np.array([each.spread for _, each, _ in sets], np.bool_)

    def _pins(self, items_BX: I32, keep_BX: Bools, rules: int) -> tuple[I64, I64]:
        """The kernel's `pins` by the first rules."""
        column_BP = np.full((len(items_BX), len(self.pins)), -1, np.int64)
        for number, (rule, pin, for_B) in enumerate(self.pins):
            if rule < rules and pin.item >= 0:
                here_BX = (items_BX == pin.item) & keep_BX
                column_BP[:, number] = np.where(here_BX.any(axis=1) & for_B, here_BX.argmax(axis=1), -1)
        return column_BP, np.array([pin.place for _, pin, _ in self.pins], np.int64)

    def _likeness(self, rules: int) -> tuple[float, I64, I32]:
        """The kernel's `likeness` by the first rules."""
        for rule, each in self.plan.effects(Likeness):
            if rule < rules:
                return each.relevance, each.values.indptr, each.values.values
        return 1.0, np.zeros(1, np.int64), np.zeros(0, np.int32)

    def _scored(self, first: Candidates) -> Iterator[tuple[I32, F32]]:
        """Items with a score for reserved and pinned places, where the candidates have too few of them."""
        keep_BX, known_A = self.plan.visible(first.items, self.user_values_BF), self._known_A
        for _, each, for_B in self.reserved:
            wanted = self._wanted(each)
            has_B = (each.member[first.items] & keep_BX).sum(axis=1)
            rows = np.flatnonzero(for_B & (has_B < wanted))
            scored = each.member & known_A & (not each.at_random)
            if len(rows) and scored.any():
                yield self._best_by_class(rows, wanted, scored)
        if pinned := [item for item in self._pinned if item < self.known]:
            mask = np.isin(np.arange(len(known_A)), pinned)
            yield self._best_by_class(np.arange(len(self.users.ids)), len(pinned), mask)

    def _unscored(self) -> Iterator[tuple[I32, F32]]:
        """Items without a score for these places: those that the model does not know, or any where chance chooses."""
        for _, each, _ in self.reserved:
            seed = self.plan.night.replace("-", "") if each.at_random else "0"
            scored = each.member & self._known_A & (not each.at_random)
            yield self._some(np.flatnonzero(each.member & ~scored), SPARE * self._wanted(each), seed)
        if self._pinned:
            unknown = [item for item in self._pinned if item >= self.known]
            yield self._some(np.array(unknown, np.int64), len(self._pinned), "0")

    def _wanted(self, reserved: ReservedPlaces) -> int:
        """Places of a whole list."""
        return reserved.places * -(-self.plan.stored // self.plan.k)

    @property
    def _known_A(self) -> Bools:
        """Of each item, whether the model knows it."""
        return np.arange(len(self.plan.available)) < self.known

    @property
    def _pinned(self) -> list[int]:
        return sorted({pin.item for _, pin, _ in self.pins if pin.item >= 0})

    def _best_by_class(self, rows: I64, k: int, member: Bools | None = None) -> tuple[I32, F32]:
        """The k best that the rules do not hide from these users, users with equal values together; else nothing."""
        plan, k = self.plan, min(k, self.known)
        found = np.full((len(self.users.ids), k), -1, np.int32), np.full((len(self.users.ids), k), np.nan, np.float32)
        every = np.arange(self.known, dtype=np.int32)[None]
        classes, class_of = np.unique(self.user_values_BF[rows], axis=0, return_inverse=True)
        for number, values_F in enumerate(classes):
            allowed = plan.available[: self.known] & plan.visible(every, values_F[None])[0]
            allowed &= True if member is None else member[: self.known]
            if allowed.any():
                mine = rows[class_of.ravel() == number]
                found[0][mine], found[1][mine] = self.best(k, mine, allowed)
        return found

    def _some(self, items: I64, most: int, seed: str) -> tuple[I32, F32]:
        """Some of the items for each user, at random, the same for the same seed: whole numbers as text."""
        shape = len(self.users.ids), min(most, len(items))
        if not len(items):
            return np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        shuffled = np.random.default_rng(int(seed)).permutation(items)
        hashes_B = pd.util.hash_array(self.users.ids.to_numpy(zero_copy_only=False), hash_key=f"slate of{seed:0>8}")
        starts_B = (hashes_B % np.uint64(len(items))).astype(np.int64)
        offered = shuffled[(starts_B[:, None] + np.arange(shape[1])) % len(items)].astype(np.int32)
        seen = self.users.seen
        return drop_seen(offered, seen.indptr, seen.indices), np.full(shape, np.nan, np.float32)
