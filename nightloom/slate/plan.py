"""The compiled slate rules of a night: what nightloom.slate.compile makes of nightloom.toml and the night's items, and
nightloom.slate.apply applies to lists."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nightloom.slate.arrays import I32, Bools
from nightloom.slate.effects import KEEP, AtMost, Effect, KeepForAll, KeepForUser, ReservedPlaces
from nightloom.slate.limits import Limits
from nightloom.slate.rule import CompiledRule

E = TypeVar("E", bound=Effect)


@dataclass(frozen=True)
class Plan:
    """The rules of one night over its items, in the order in which they apply."""

    rules: tuple[CompiledRule, ...]
    ids: pa.Array
    """The items' ids."""
    available: Bools
    """Of each item; an item that no source described is available."""
    k: int
    stored: int
    pool: int
    """Candidates of a user."""
    night: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rules."""
        return tuple(rule.name for rule in self.rules)

    @property
    def undescribed(self) -> int:
        """The row of an item that no source described: the last one."""
        return len(self.ids)

    def effects(self, *types: type[E]) -> list[tuple[int, E]]:
        """The effects of these types, each with the number of its rule."""
        return [(n, each) for n, rule in enumerate(self.rules) for each in rule.effects if isinstance(each, types)]

    @cached_property
    def places(self) -> dict[str, int]:
        """Item id -> its row."""
        return {item: row for row, item in enumerate(self.ids.to_pylist())}

    @cached_property
    def limits(self) -> Limits:
        """All effects that limit items, as one."""
        return Limits.merge(self.effects(AtMost), len(self.available))

    @property
    def keeps(self) -> list[tuple[int, KeepForAll | KeepForUser]]:
        """The effects that hide items, each with the number of its rule."""
        return self.effects(*KEEP)

    def for_items(self, known: Sequence[str] | NDArray[np.str_]) -> Plan:
        """The same rules over a model's items, and after them those that it does not know."""
        ids = pa.array(known, pa.string())
        rows = pc.fill_null(pc.index_in(ids, value_set=self.ids), self.undescribed).to_numpy(zero_copy_only=False)
        others = np.setdiff1d(np.arange(len(self.ids)), rows)
        rows = np.concatenate([rows, others, [self.undescribed]]).astype(np.int64)
        return replace(
            self,
            ids=pa.concat_arrays([ids, self.ids.take(pa.array(others, pa.int64()))]),
            available=np.append(self.available, True)[rows],
            rules=tuple(
                replace(rule, effects=tuple(each.for_items(rows) for each in rule.effects)) for rule in self.rules
            ),
        )

    @property
    def digest(self) -> str:
        """Twelve hex digits of all that the rules say of every item; of the date only where chance depends on it."""
        at_random = any(each.at_random for _, each in self.effects(ReservedPlaces))
        undated = replace(self, night=self.night if at_random else "")
        return hashlib.sha256(pickle.dumps(undated)).hexdigest()[:12]

    def visible(self, items_BX: I32, values_BF: I32) -> Bools:
        """B x X: which candidates no rule hides."""
        keep_BX = items_BX >= 0
        for number, (_, effect) in enumerate(self.keeps):
            keep_BX &= effect.keeps(items_BX, values_BF[:, number])
        return keep_BX

    def user_values(self, attributes: pa.ListArray) -> I32:
        """B x F: each user's value for each effect that hides items; `attributes` are attribute=value."""
        none = np.zeros(len(attributes), np.int32)
        columns = [
            effect.user_values(attribute_values(attributes, effect.user)) if isinstance(effect, KeepForUser) else none
            for _, effect in self.keeps
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(attributes), 0), np.int32)

    def visible_to_stranger(self, items: Sequence[str], attributes: Sequence[str] = ()) -> Bools:
        """Which items no rule hides from a user of whom just these attributes (attribute=value) are known."""
        mine, stranger = self.for_items(items), pa.array([attributes], pa.list_(pa.string()))
        shown_1X = mine.visible(np.arange(len(items), dtype=np.int32)[None], mine.user_values(stranger))
        return np.asarray(shown_1X[0], np.bool_)


def attribute_values(attributes: pa.ListArray, name: str) -> pa.Array:
    """The value of an attribute of each user (attribute=value), null where there is none."""
    flat, rows = attributes.flatten(), pc.list_parent_indices(attributes)
    start = f"{name}="
    mine = pc.starts_with(flat, start)
    found = np.full(len(attributes), None, object)
    found[rows.filter(mine).to_numpy()] = pc.utf8_slice_codeunits(flat.filter(mine), len(start)).to_pylist()
    return pa.array(found, pa.string())
