"""The effects that a slate rule can have on lists. The set is closed: nightloom.slate.apply carries out these and no
others; a kind of rule composes them.

Arrays of a compiled effect are in the order of the night's items; `for_items` puts them into a model's order. A row
past the last item stands for an item that no source described: it meets no condition and has no attribute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from nightloom.slate.item_values import ItemValues

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from nightloom.slate.arrays import F32, I32, I64, Bools

COMPARISONS = ("contains", "at_most", "at_least")


@dataclass(frozen=True)
class KeepForAll:
    """Hides items from everybody."""

    keep: Bools
    """Of each item, whether it may be listed."""

    def for_items(self, rows: I64) -> KeepForAll:
        """The effect in the order of these items."""
        return replace(self, keep=_extended(self.keep, False)[rows])

    def differs(self, other: KeepForAll) -> Bools:
        """Of each item, whether the other one, over the same items, treats it differently."""
        differs: Bools = self.keep != other.keep
        return differs

    def keeps(self, items_BX: I32, values_B: I32) -> Bools:
        """B x X: which items these users may be shown."""
        return self.keep[items_BX]


@dataclass(frozen=True)
class KeepForUser:
    """Hides items whose attribute disagrees with the user's; both are places among the values that items have."""

    user: str
    """The user's attribute."""
    compare: str
    values: ItemValues
    """The item's, sorted: none where it lacks the attribute; a number has just one."""

    def for_items(self, rows: I64) -> KeepForUser:
        """The effect in the order of these items."""
        return replace(self, values=self.values.for_items(rows))

    def differs(self, other: KeepForUser) -> Bools:
        """Of each item, whether the other one, over the same items, treats it differently."""
        return self.values.differs(other.values)

    def user_values(self, values: pa.Array) -> I32:
        """B: each user's value as a number that keeps() compares."""
        import numpy as np
        import pandas as pd
        import pyarrow.compute as pc

        if self.compare == "contains":
            return np.asarray(pc.fill_null(pc.index_in(values, value_set=self.values.names), -1), np.int32)
        numbers = pd.to_numeric(values.to_pandas(), errors="coerce").to_numpy(np.float64)
        known = self.values.names.to_numpy(zero_copy_only=False)
        if self.compare == "at_most":
            return np.where(np.isnan(numbers), 0, np.searchsorted(known, numbers, side="right")).astype(np.int32)
        return np.where(np.isnan(numbers), len(known), np.searchsorted(known, numbers)).astype(np.int32)

    def keeps(self, items_BX: I32, values_B: I32) -> Bools:
        """B x X: which items these users may be shown; an item without the attribute is for everybody."""
        from nightloom.slate.kernel import agree

        how = COMPARISONS.index(self.compare)
        return agree(self.values.indptr, self.values.values, items_BX, values_B, how)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class RelevanceAddition:
    """Moves candidates up or down: adds to the relevance, which is 1 for a user's best candidate and 0 for the last."""

    add: F32
    """To each item's relevance."""

    def for_items(self, rows: I64) -> RelevanceAddition:
        """The effect in the order of these items."""
        return replace(self, add=_extended(self.add, 0)[rows])

    def differs(self, other: RelevanceAddition) -> Bools:
        """Of each item, whether the other one, over the same items, treats it differently."""
        differs: Bools = self.add != other.add
        return differs


@dataclass(frozen=True)
class AtMost:
    """Lets at most so many items of each group onto a page, or into a list; never broken."""

    groups: ItemValues
    """The groups that each item counts in."""
    at_most: int
    within_list: bool
    """Counted in the whole list and not on a page."""

    def for_items(self, rows: I64) -> AtMost:
        """The effect in the order of these items."""
        return replace(self, groups=self.groups.for_items(rows))

    def differs(self, other: AtMost) -> Bools:
        """Of each item, whether the other one, over the same items, treats it differently."""
        return self.groups.differs(other.groups)


@dataclass(frozen=True)
class ReservedPlaces:
    """Reserves places of each page for a set of items, as far as there are any."""

    member: Bools
    """Of each item; an item that is not available is in no set."""
    places: int
    """Of each page."""
    spread: bool
    """Over the page; else where the scores put them, at its end at the latest."""
    at_random: bool = False
    """Any of the set will do, with a score or without."""
    users: tuple[tuple[str, str], ...] = ()
    """(attribute, value) that a user must have."""

    def for_items(self, rows: I64) -> ReservedPlaces:
        """The effect in the order of these items."""
        return replace(self, member=_extended(self.member, False)[rows])

    def differs(self, other: ReservedPlaces) -> Bools:
        """Of each item, whether the other one, over the same items, treats it differently."""
        differs: Bools = self.member != other.member
        return differs


@dataclass(frozen=True)
class PinnedPlace:
    """Puts one item at one place, unless the user has seen it, a rule hides it or a limit forbids it."""

    item: int
    """-1: no item that can be shown."""
    place: int
    """From 0."""
    users: tuple[tuple[str, str], ...] = ()
    """(attribute, value) that a user must have."""

    def for_items(self, rows: I64) -> PinnedPlace:
        """The effect in the order of these items, the last of which is the one that no source described."""
        places = (rows[:-1] == self.item).nonzero()[0].tolist() if self.item >= 0 else []
        return replace(self, item=next(iter(places), -1))


@dataclass(frozen=True)
class Likeness:
    """Lowers what is like an item already on the page. At most one rule of a slate has this effect."""

    relevance: float
    """1 looks at relevance alone, 0 at the difference alone."""
    values: ItemValues
    """What two items may have in common."""

    def for_items(self, rows: I64) -> Likeness:
        """The effect in the order of these items."""
        return replace(self, values=self.values.for_items(rows))

    def differs(self, other: Likeness) -> Bools:
        """Of each item, whether the other one, over the same items, treats it differently."""
        return self.values.differs(other.values)


Effect: TypeAlias = KeepForAll | KeepForUser | RelevanceAddition | AtMost | ReservedPlaces | PinnedPlace | Likeness
KEEP = (KeepForAll, KeepForUser)
"""Effects that hide items and leave the others in the order of their scores."""


def _extended(values: NDArray, neutral: float) -> NDArray:  # type: ignore[type-arg]
    """With one entry more, for an item that no source described."""
    import numpy as np

    return np.append(values, values.dtype.type(neutral))
