"""Compiled slate rules: what slate_plan.py makes of nightloom.toml and the night's items, and slate_lists.py applies.

Shapes: B users, A items (a model's, then those that it does not know), X candidates of a user, C kinds that a cap
counts (one each value).
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nightloom.slate.fill import within

Bools = NDArray[np.bool_]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Lists:
    """One list of small numbers an item, as CSR arrays; item a owns values[indptr[a] .. indptr[a + 1]], rising."""

    indptr: I64
    values: I32

    def of(self, items: I64) -> Lists:
        """Those of some items, in the order asked for."""
        lengths = np.diff(self.indptr)[items]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.indptr[items] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Lists(indptr, self.values[places])


@dataclass(frozen=True)
class ForAll:
    """A filter that is the same for everybody."""

    rule: int
    keep: Bools
    """Of each item."""

    def of(self, items: I64) -> ForAll:
        return replace(self, keep=self.keep[items])

    def keeps(self, items_BX: I32, asked_B: I32) -> Bools:
        """B x X: which items these users may see."""
        return self.keep[items_BX]


@dataclass(frozen=True)
class ForUser:
    """A filter that compares an item's attribute with a user's, both as places among the values that items have."""

    rule: int
    user: str
    compare: str
    known: pa.Array
    """The values that items have, sorted: texts, or float64."""
    codes: Lists
    """Places in `known`, none where the item lacks the attribute; of a number just one."""

    def of(self, items: I64) -> ForUser:
        return replace(self, codes=self.codes.of(items))

    def asked(self, words: pa.ListArray) -> I32:
        """B: each user's value as a number that keeps() compares."""
        values = attribute(words, self.user)
        if self.compare == "contains":
            return np.asarray(pc.fill_null(pc.index_in(values, value_set=self.known), -1), np.int32)
        numbers = pd.to_numeric(values.to_pandas(), errors="coerce").to_numpy(np.float64)
        known = self.known.to_numpy(zero_copy_only=False)
        if self.compare == "at_most":
            return np.where(np.isnan(numbers), 0, np.searchsorted(known, numbers, side="right")).astype(np.int32)
        return np.where(np.isnan(numbers), len(known), np.searchsorted(known, numbers)).astype(np.int32)

    def keeps(self, items_BX: I32, asked_B: I32) -> Bools:
        """B x X: which items these users may see."""
        how = ("contains", "at_most", "at_least").index(self.compare)
        return within(self.codes.indptr, self.codes.values, items_BX, asked_B, how)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Boost:
    rule: int
    add: F32
    """To each item's relevance."""

    def of(self, items: I64) -> Boost:
        return replace(self, add=self.add[items])


@dataclass(frozen=True)
class Caps:
    """All caps as one: each item is of some kinds, each kind has a number that it may not exceed."""

    kinds: Lists
    rule_C: I32
    at_most_C: I32
    whole_C: Bools
    """Counted in the whole list and not on a page."""

    def of(self, items: I64) -> Caps:
        return replace(self, kinds=self.kinds.of(items))


@dataclass(frozen=True)
class Reserved:
    """Places of each page kept for a set of items: a floor, a promotion or the exploration."""

    rule: int
    member: Bools
    """Of each item; none that is not available."""
    places: int
    """Of each page."""
    spread: bool
    """Over the page; else where the scores put them, at its end at the latest."""
    by_chance: bool
    """Any of the set will do, with a score or without."""
    users: dict[str, str]

    def of(self, items: I64) -> Reserved:
        return replace(self, member=self.member[items])


@dataclass(frozen=True)
class Pinned:
    rule: int
    item: int
    place: int
    """From 0."""
    users: dict[str, str]


@dataclass(frozen=True)
class Diverse:
    rule: int
    relevance: float
    words: Lists
    """What two items may have in common."""

    def of(self, items: I64) -> Diverse:
        return replace(self, words=self.words.of(items))


@dataclass(frozen=True)
class Plan:
    """The rules of one night over its items; every array has one more entry, for an item that nobody described."""

    names: tuple[str, ...]
    items: tuple[int, ...]
    """How many items each rule speaks of."""
    ids: pa.Array
    available: Bools
    k: int
    stored: int
    pool: int
    """Candidates of a user."""
    night: str
    filters: tuple[ForAll | ForUser, ...] = ()
    boosts: tuple[Boost, ...] = ()
    caps: Caps | None = None
    reserved: tuple[Reserved, ...] = ()
    pins: tuple[Pinned, ...] = ()
    diverse: Diverse | None = None

    def of(self, known: Sequence[str] | NDArray[np.str_]) -> Plan:
        """The same over a model's items, and after them those that it does not know."""
        ids = pa.array(known, pa.string())
        described = pc.fill_null(pc.index_in(ids, value_set=self.ids), len(self.ids)).to_numpy(zero_copy_only=False)
        others = np.setdiff1d(np.arange(len(self.ids)), described)
        rows = np.concatenate([described, others, [len(self.ids)]]).astype(np.int64)
        place = np.full(len(self.ids) + 1, -1, np.int64)
        place[rows[:-1]] = np.arange(len(rows) - 1)
        place[-1] = -1  # what nobody described cannot be pinned
        return replace(
            self,
            ids=pa.concat_arrays([ids, self.ids.take(pa.array(others, pa.int64()))]),
            available=self.available[rows],
            filters=tuple(each.of(rows) for each in self.filters),
            boosts=tuple(each.of(rows) for each in self.boosts),
            caps=self.caps and self.caps.of(rows),
            reserved=tuple(each.of(rows) for each in self.reserved),
            pins=tuple(replace(pin, item=int(place[pin.item])) for pin in self.pins),
            diverse=self.diverse and self.diverse.of(rows),
        )

    @property
    def digest(self) -> str:
        """Twelve hex digits of all that the rules say of every item; of the date just where chance decides by it."""
        undated = self if any(each.by_chance for each in self.reserved) else replace(self, night="")
        return hashlib.sha256(pickle.dumps(undated)).hexdigest()[:12]

    def keeps(self, items_BX: I32, asked_BF: I32) -> Bools:
        """B x X: which candidates the filters leave."""
        keep_BX = items_BX >= 0
        for number, each in enumerate(self.filters):
            keep_BX &= each.keeps(items_BX, asked_BF[:, number])
        return keep_BX

    def asked(self, words: pa.ListArray) -> I32:
        """B x F: what each user's attributes say to each filter."""
        none = np.zeros(len(words), np.int32)
        columns = [each.asked(words) if isinstance(each, ForUser) else none for each in self.filters]
        return np.stack(columns, axis=1) if columns else np.zeros((len(words), 0), np.int32)

    def strangers_see(self, items: Sequence[str], words: Sequence[str] = ()) -> Bools:
        """Which items the filters leave to somebody of whom just these words (attribute=value) are known."""
        mine, somebody = self.of(items), pa.array([words], pa.list_(pa.string()))
        shown_1X = mine.keeps(np.arange(len(items), dtype=np.int32)[None], mine.asked(somebody))
        return np.asarray(shown_1X[0], np.bool_)


def attribute(words: pa.ListArray, name: str) -> pa.Array:
    """The value of `name` in each user's words, null where there is none."""
    flat, rows = words.flatten(), pc.list_parent_indices(words)
    start = f"{name}="
    mine = pc.starts_with(flat, start)
    found = np.full(len(words), None, object)
    found[rows.filter(mine).to_numpy()] = pc.utf8_slice_codeunits(flat.filter(mine), len(start)).to_pylist()
    return pa.array(found, pa.string())
