"""Compiled slate rules -> each user's list, for a block of users at a time; and what each rule did to the lists.

Shapes: B users, A items (a model's, then those that it does not know), X candidates of a user, K places of a list, k of
a page, R rules, C kinds that a cap counts (one each value), S sets of items that places are kept for, P pins.

Relevance is a user's score on a scale of its own: 1 for the best candidate, 0 for the last. What a rule does is the
difference between the list with the rules before it and the list with it, too (`slate_settings.py` has the order): so
the costs of all rules add up to the cost of the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nightloom.slate.fill import fill, first_time, unseen
from nightloom.slate.plan import F32, F64, I32, I64, Bools, Pinned, Plan, Reserved, attribute

DEEPER = 8
"""So many times the candidates for a user whose list is short, or of whose candidates filters left few."""
SPARE = 4
"""So many times the places are offered of items without a score: some of them the user has seen or may not see."""
NO_LIMIT = np.iinfo(np.int32).max


class Best(Protocol):
    """Each user's k best items by a model -> (B x k items, -1 where there is none; scores). `rows`: some users only."""

    def __call__(self, k: int, rows: I64, allowed: Bools, /) -> tuple[I32, F32]: ...


@dataclass(frozen=True)
class Users:
    """A block of users."""

    ids: pa.Array
    words: pa.ListArray
    """attribute=value."""
    seen: csr_array
    """B x A, stored where a user has touched an item."""

    def active(self, wanted: dict[str, str]) -> Bools:
        """B: who has these values."""
        has_B = np.ones(len(self.ids), np.bool_)
        for name, value in wanted.items():
            has_B &= pc.fill_null(pc.equal(attribute(self.words, name), value), False).to_numpy(zero_copy_only=False)
        return has_B


@dataclass(frozen=True)
class Slates:
    """Lists of a block of users by no rule, by the first, ..., by all R: columns of the candidates, -1: none."""

    items_BX: I32
    scores_BX: F32
    relevance_BX: F64
    """0 without a score."""
    span_B: F64
    """The score of a relevance of 1, above that of 0."""
    steps: list[I32]
    k: int

    def items(self, step: int = -1) -> I32:
        """B x K: the lists after so many rules."""
        return _at(self.items_BX, self.steps[step], -1)

    def scores(self, step: int = -1) -> F32:
        """Their scores; an item that the model does not know has that of the user's last candidate."""
        return _at(self.scores_BX, self.steps[step], np.float32(0))

    @cached_property
    def done(self) -> F64:
        """R x 4: lists changed; items brought to the first page; score and relevance that first pages lost."""
        pages = [step[:, : self.k] for step in self.steps]
        rows = []
        for number in range(1, len(self.steps)):
            before, after = pages[number - 1], pages[number]
            brought = (after[:, :, None] != before[:, None, :]).all(axis=2) & (after >= 0)
            changed = (self.steps[number] != self.steps[number - 1]).any(axis=1)
            lost_B = (_at(self.relevance_BX, before, 0) - _at(self.relevance_BX, after, 0)).sum(axis=1)
            rows.append([changed.sum(), brought.sum(), (lost_B * self.span_B).sum(), lost_B.sum()])
        return np.array(rows, np.float64).reshape(-1, 4)

    @property
    def relevance(self) -> float:
        """Of all first pages by score alone."""
        return float(_at(self.relevance_BX, self.steps[0][:, : self.k], 0).sum())


def _at(values_BX: NDArray[Any], columns_BK: I32, nothing: Any) -> NDArray[Any]:
    found = np.take_along_axis(values_BX, np.maximum(columns_BK, 0), axis=1)
    return np.where(columns_BK >= 0, found, nothing).astype(values_BX.dtype)


@dataclass(frozen=True)
class Candidates:
    """What a block of users may be shown, the left ones first; an item is in a row once."""

    items: I32
    """B x X, -1: nothing."""
    scores: F32
    """NaN where the model does not know the item, or did not score it."""
    free: Bools
    """X: whether it may take any place; others just one that is kept for them."""

    def beside(self, found: tuple[I32, F32], free: bool = False) -> Candidates:
        """With more on the right."""
        wider = np.concatenate([self.free, np.full(found[0].shape[1], free)])
        return Candidates(np.hstack([self.items, found[0]]), np.hstack([self.scores, found[1]]), wider)


@dataclass(frozen=True)
class Block:
    """The rules at work for a block of users."""

    plan: Plan
    """Over a model's items and then the others."""
    known: int
    """How many items the model knows."""
    best: Best
    users: Users

    @cached_property
    def asked_BF(self) -> I32:
        return self.plan.asked(self.users.words)

    @cached_property
    def active(self) -> dict[int, Bools]:
        """Rule -> B: for whom it is, of the rules for some users."""
        some: tuple[Reserved | Pinned, ...] = (*self.plan.reserved, *self.plan.pins)
        return {each.rule: self.users.active(each.users) for each in some}

    def slates(self) -> Slates:
        """Candidates by score, then what rules need besides, then each rule in its turn."""
        rules, everybody = len(self.plan.names), np.arange(len(self.users.ids))
        best = self.best(min(self.plan.pool, self.known), everybody, self.plan.available[: self.known])
        first, scale = Candidates(*best, np.full(best[0].shape[1], True)), _scale(*best)
        extras = list(self._kept_places(first))
        found = self._joined(first, extras)
        few_B = self.plan.keeps(first.items, self.asked_BF).sum(axis=1) < self.plan.pool / 2
        asked = rules - (self.plan.diverse is not None)  # the last rule, which makes no list longer or shorter
        short_B = (next(self._steps(found, scale, {asked}))[:, -1] < 0) | few_B
        more_B = (first.items >= 0).all(axis=1) & (first.items.shape[1] < self.known)
        if len(rows := np.flatnonzero(short_B & more_B)):
            found = self._joined(first.beside(self._of_classes(rows, DEEPER * self.plan.pool), free=True), extras)
        steps = list(self._steps(found, scale, set(range(rules + 1))))
        relevance, scores = _relevance(found, scale)
        return Slates(found.items, scores, np.where(np.isnan(found.scores), 0, relevance), scale[1], steps, self.plan.k)

    def _joined(self, found: Candidates, extras: list[tuple[I32, F32]]) -> Candidates:
        for extra in extras:
            found = found.beside(extra)
        return replace(found, items=first_time(found.items, len(self.plan.ids)))

    def _steps(self, found: Candidates, scale: tuple[F64, F64], wanted: set[int]) -> Iterator[I32]:
        """The lists by no rule, by the first, the first two, ...: those of these numbers that are wanted."""
        plan = self.plan
        value_BX, keep_BX = _relevance(found, scale)[0], found.items >= 0
        order_BX = np.argsort(-value_BX, axis=1, kind="stable")
        filters = {each.rule: (number, each) for number, each in enumerate(plan.filters)}
        boosts = {each.rule: each for each in plan.boosts}
        for number in range(len(plan.names) + 1):
            if number - 1 in filters:
                column, rule = filters[number - 1]
                keep_BX = keep_BX & rule.keeps(found.items, self.asked_BF[:, column])
            if number - 1 in boosts:
                value_BX = value_BX + boosts[number - 1].add[found.items]
                order_BX = np.argsort(-value_BX, axis=1, kind="stable")
            if number in wanted:
                shown_BX = np.where(keep_BX, value_BX, -np.inf)
                rules = (self._caps(number), self._sets(number), self._pins(found.items, keep_BX, number),
                         self._diversity(number))  # fmt: skip
                yield fill(found.items, shown_BX, order_BX, found.free, plan.stored, plan.k, *rules)

    def _caps(self, rules: int) -> tuple[I64, I32, I32, Bools]:
        if (caps := self.plan.caps) is None:
            nothing = np.zeros(0, np.int32)
            return np.zeros(len(self.plan.available) + 1, np.int64), nothing, nothing, nothing.astype(np.bool_)
        limits = np.where(caps.rule_C < rules, caps.at_most_C, NO_LIMIT).astype(np.int32)
        return caps.kinds.indptr, caps.kinds.values, limits, caps.whole_C

    def _sets(self, rules: int) -> tuple[Bools, I64, Bools]:
        sets = self.plan.reserved
        member_SA = np.array([each.member for each in sets], np.bool_).reshape(len(sets), len(self.plan.available))
        places = [each.places * self.active[each.rule] * (each.rule < rules) for each in sets]
        places_BS = np.array(places, np.int64).reshape(len(sets), len(self.users.ids)).T.copy()
        return member_SA, places_BS, np.array([each.spread for each in sets], np.bool_)

    def _pins(self, items_BX: I32, keep_BX: Bools, rules: int) -> tuple[I64, I64]:
        pins = self.plan.pins
        column_BP = np.full((len(items_BX), len(pins)), -1, np.int64)
        for number, pin in enumerate(pins):
            if pin.rule < rules and pin.item >= 0:
                here_BX = (items_BX == pin.item) & keep_BX
                there_B = here_BX.any(axis=1) & self.active[pin.rule]
                column_BP[:, number] = np.where(there_B, here_BX.argmax(axis=1), -1)
        return column_BP, np.array([pin.place for pin in pins], np.int64)

    def _diversity(self, rules: int) -> tuple[float, I64, I32]:
        diverse = self.plan.diverse
        if diverse is None or diverse.rule >= rules:
            return 1.0, np.zeros(1, np.int64), np.zeros(0, np.int32)
        return diverse.relevance, diverse.words.indptr, diverse.words.values

    def _kept_places(self, first: Candidates) -> Iterator[tuple[I32, F32]]:
        """Items for the places that sets and pins keep, where the candidates have too few of them."""
        keep_BX = self.plan.keeps(first.items, self.asked_BF)
        pages = -(-self.plan.stored // self.plan.k)
        for each in self.plan.reserved:
            wanted = each.places * pages
            has_B = (each.member[first.items] & keep_BX).sum(axis=1)
            rows = np.flatnonzero(self.active[each.rule] & (has_B < wanted))
            scored = each.member & (np.arange(len(each.member)) < self.known) & (not each.by_chance)
            if len(rows) and scored.any():
                yield self._of_classes(rows, wanted, scored)
            yield self._unscored(np.flatnonzero(each.member & ~scored), SPARE * wanted)
        if pinned := sorted({pin.item for pin in self.plan.pins if pin.item >= 0}):
            mask = np.zeros(len(self.plan.available), np.bool_)
            mask[[item for item in pinned if item < self.known]] = True
            if mask.any():
                yield self._of_classes(np.arange(len(self.users.ids)), int(mask.sum()), mask)
            yield self._unscored(np.array([item for item in pinned if item >= self.known], np.int64), len(pinned))

    def _of_classes(self, rows: I64, k: int, member: Bools | None = None) -> tuple[I32, F32]:
        """The k best that the filters leave these users, those of one kind together; nothing for the others."""
        plan, k = self.plan, min(k, self.known)
        found = np.full((len(self.users.ids), k), -1, np.int32), np.full((len(self.users.ids), k), np.nan, np.float32)
        every = np.arange(self.known, dtype=np.int32)[None]
        classes, class_of = np.unique(self.asked_BF[rows], axis=0, return_inverse=True)
        for number, asked_F in enumerate(classes):
            allowed = plan.available[: self.known] & plan.keeps(every, asked_F[None])[0]
            allowed &= True if member is None else member[: self.known]
            if allowed.any():
                mine = rows[class_of.ravel() == number]
                found[0][mine], found[1][mine] = self.best(k, mine, allowed)
        return found

    def _unscored(self, items: I64, most: int) -> tuple[I32, F32]:
        """Some of the items for each user, by chance, the same each time the night is run."""
        shape = len(self.users.ids), min(most, len(items))
        if not len(items):
            return np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        shuffled = np.random.default_rng(int(self.plan.night.replace("-", ""))).permutation(items)
        key = f"slate of{self.plan.night.replace('-', '')}"
        hashes_B = pd.util.hash_array(self.users.ids.to_numpy(zero_copy_only=False), hash_key=key)
        starts_B = (hashes_B % np.uint64(len(items))).astype(np.int64)
        offered = shuffled[(starts_B[:, None] + np.arange(shape[1])) % len(items)].astype(np.int32)
        seen = self.users.seen
        return unseen(offered, seen.indptr, seen.indices), np.full(shape, np.nan, np.float32)


def _scale(items_BX: I32, scores_BX: F32) -> tuple[F64, F64]:
    """B: the last candidate's score, and how far the best is above it; 0 where there is none."""
    there = items_BX >= 0
    low_B = np.where(there, scores_BX, np.inf).min(axis=1, initial=np.inf).astype(np.float64)
    high_B = np.where(there, scores_BX, -np.inf).max(axis=1, initial=-np.inf).astype(np.float64)
    some_B = np.isfinite(low_B)
    return np.where(some_B, low_B, 0), np.where(some_B, high_B - np.where(some_B, low_B, 0), 0)


def _relevance(found: Candidates, scale: tuple[F64, F64]) -> tuple[F64, F32]:
    """B x X: relevance, and scores, the last candidate's in the place of none. What has none comes after all others."""
    low_B1, span_B1 = scale[0][:, None], scale[1][:, None]
    none_BX = np.isnan(found.scores) | (found.items < 0)
    scores_BX = np.where(none_BX, low_B1, found.scores)
    relevance_BX = np.divide(scores_BX - low_B1, span_B1, out=np.zeros_like(scores_BX), where=span_B1 > 0)
    last_B1 = relevance_BX.min(axis=1, keepdims=True, initial=0)
    return np.where(none_BX, last_B1 - 1, relevance_BX), scores_BX.astype(np.float32)
