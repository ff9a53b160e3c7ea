"""Two nights' plans of the same rules -> the users whose lists may differ, though nothing else of theirs changed.

Model, history and attributes of these users are the same on both nights. Their list is made from candidates: the best
items that the model knows, and items for reserved and pinned places (nightloom.slate.apply). So an item matters in
three ways only:

1. The model knows it. It may be anybody's candidate, and the last candidate's score is the zero of relevance for all
   others. If a rule treats such an item differently, everybody is scored. Where rules only hide items, a list is the
   user's best visible items: an item that is hidden now touches those who have it in their list, and nobody else.
2. A rule pins it. It touches the rule's audience.
3. The model does not know it (it is new, or nobody liked it), and it is in a set with reserved places. Such an item is
   never `free`: it can stand on a reserved place and nowhere else. Its relevance is 1 below that of the user's last
   scored candidate. Hence it loses against every scored item of the set, as long as boosts and diversity cannot make
   up for that 1 (_scored_come_first), and it is chosen only where no scored item of the set fits. Then the page has
   fewer known items of the set than reserved places: places are reserved as long as there are too few, and what does
   not fit at one place of a page fits at none after it. So where each page of the earlier list has enough known items
   of each set, no unknown item was chosen, and by the same argument none would be now: the list stays as it is. Users
   with a page that lacks one are scored. (Whether the model is asked for more candidates does not depend on unknown
   items, either.)

All other items are nobody's candidates. Exploration chooses other items each night, and so touches everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nightloom.slate.arrays import F32, Bools
from nightloom.slate.effects import KEEP, KeepForAll, KeepForUser, Likeness, PinnedPlace
from nightloom.slate.effects import RelevanceAddition as Addition
from nightloom.slate.effects import ReservedPlaces as Reserved
from nightloom.slate.plan import Plan

if TYPE_CHECKING:
    import duckdb

FEW_ITEMS = 1_000
"""Items hidden since: with more of them, to look through all lists is no quicker than to score everybody."""
MARGIN = 1e-6
"""Above the rounding of relevance."""
Audience = tuple[tuple[str, str], ...]
"""(attribute, value) that a user must have; empty: everybody."""


class EverybodyError(Exception):
    """Why a change may touch every list."""


@dataclass(frozen=True)
class KnownPlaces:
    """A set with reserved places, for which items that the model knows must be in a list already."""

    items: list[str]
    """Items of the set that the model knows."""
    places: int
    """Of each page."""
    audience: Audience


@dataclass(frozen=True)
class RuleChanges:
    """Whom the changes between two plans may touch; touched_users() finds them."""

    hidden: list[str]
    """Items that are hidden now: users with one of them in their list."""
    audiences: list[Audience]
    """Users of these audiences."""
    sets: list[KnownPlaces]
    """Users of the audience with a page that has too few of these items."""

    def __bool__(self) -> bool:
        return bool(self.hidden or self.audiences or self.sets)


def compare_plans(then: Plan, now: Plan, item_ids: NDArray[np.str_]) -> RuleChanges:
    """Compare the plans of two nights over the items of one model. Raises EverybodyError."""
    ids = item_ids.tolist()
    others = {*then.ids.to_pylist(), *now.ids.to_pylist()}.difference(ids)
    ids = [*ids, *sorted(others)]
    return _Comparison(then.for_items(ids), now.for_items(ids), len(item_ids)).changes()


@dataclass(frozen=True)
class _Comparison:
    """Both plans over the same items: those that the model knows, the others, and one that no source described."""

    then: Plan
    now: Plan
    known: int

    def changes(self) -> RuleChanges:
        """See compare_plans()."""
        changed = self.then.available != self.now.available
        for _, before, after in self._pairs():
            if not isinstance(after, PinnedPlace):
                changed = changed | after.differs(before)
        hidden, audiences = self._hidden(changed[: self.known]), list(self._audiences(changed))
        if any(not audience for audience in audiences):
            raise EverybodyError("a rule for everybody begins, ends or puts another item at its place")
        return RuleChanges(hidden, audiences, self._sets(changed, others_offered=bool(audiences)))

    def _pairs(self, *types: type) -> Iterator[tuple[str, Any, Any]]:
        """(name of the rule, effect as it was, effect as it is); of these types, or all. The settings are the same."""
        for before, after in zip(self.then.rules, self.now.rules, strict=True):
            for one, other in zip(before.effects, after.effects, strict=True):
                if not types or isinstance(other, types):
                    yield after.name, one, other

    def _hidden(self, changed_I: Bools) -> list[str]:
        """Items that the model knows and that are hidden now."""
        if not changed_I.any():
            return []
        if any(not isinstance(after, KEEP) for _, _, after in self._pairs()):
            raise EverybodyError(self._words(changed_I, "treated differently by a rule"))
        shown_then, shown_now = (self._shown(plan)[: self.known] for plan in (self.then, self.now))
        for_some = np.zeros(len(changed_I), np.bool_)
        for _, before, after in self._pairs(KeepForUser):
            for_some |= after.differs(before)[: self.known]
        if (more := changed_I & shown_now & (for_some | ~shown_then)).any():
            raise EverybodyError(self._words(more, "available again, or for other users"))
        if (gone := shown_then & ~shown_now).sum() > FEW_ITEMS:
            raise EverybodyError(self._words(gone, "no longer available"))
        return self._ids(gone)

    @staticmethod
    def _shown(plan: Plan) -> Bools:
        """Of each item, whether somebody may be shown it, as far as this does not depend on the user."""
        shown = plan.available.copy()
        for _, keep in plan.effects(KeepForAll):
            shown &= keep.keep
        return shown

    def _audiences(self, changed: Bools) -> Iterator[Audience]:
        """Audiences of rules that begin, end, or pin an item that is another one or treated differently."""
        for name, before, after in self._pairs(PinnedPlace, Reserved):
            if isinstance(after, Reserved):
                if before.places != after.places:
                    yield after.users
            elif before.item != after.item:
                # Pinned items are candidates of everybody, also outside the audience: for reserved places.
                if any(0 <= item < self.known and self._is_reserved(item) for item in (before.item, after.item)):
                    raise EverybodyError(f"{name} begins, ends or pins another item, which has reserved places, too")
                yield after.users
            elif after.item >= 0 and changed[after.item]:
                yield after.users

    def _is_reserved(self, item: int) -> bool:
        return any(each.member[item] for plan in (self.then, self.now) for _, each in plan.effects(Reserved))

    def _sets(self, changed: Bools, *, others_offered: bool) -> list[KnownPlaces]:
        """Sets whose places an unknown item may take, where such an item has changed or others are offered."""
        found, moved = [], others_offered
        for name, before, after in self._pairs(Reserved):
            both = before.member | after.member
            if not (after.places or before.places) or not both.any():
                continue
            if after.at_random:
                raise EverybodyError(f"{name} chooses other items each night")
            if both[self.known :].any():
                moved = moved or bool((both & changed)[self.known :].any())
                known = KnownPlaces(self._ids(after.member[: self.known]), after.places, after.users)
                found.append((name, before.member, after.member, known))
        if not moved:
            return []
        for name, was, is_ in ((name, was, is_) for name, was, is_, _ in found):
            if not (self._scored_come_first(self.then, was) and self._scored_come_first(self.now, is_)):
                raise EverybodyError(f"new items of {name} may stand before those that the model knows")
        return [known for *_, known in found if known.places]

    def _scored_come_first(self, plan: Plan, member: Bools) -> bool:
        """Whether every scored item of a set comes before every other one of it, whatever stands on the page."""
        add: F32 = np.zeros(len(member), np.float32)
        for _, addition in plan.effects(Addition):
            add = add + addition.add
        scored, others = add[: self.known][member[: self.known]], add[self.known :][member[self.known :]]
        relevance = next((each.relevance for _, each in plan.effects(Likeness)), 1.0)
        if not len(scored) or not len(others):
            return True
        return bool(relevance * (1 + scored.min() - others.max()) > 1 - relevance + MARGIN)

    def _ids(self, chosen_I: Bools) -> list[str]:
        """Ids of chosen items that the model knows."""
        found: list[str] = self.now.ids.take(pa.array(np.flatnonzero(chosen_I))).to_pylist()
        return found

    def _words(self, items_I: Bools, what: str) -> str:
        return f"{items_I.sum():,} items that the model knows are {what}, {self._ids(items_I)[0]} the first of them"


def touched_users(db: duckdb.DuckDBPyConnection, changes: RuleChanges, k: int, stored: int) -> pa.Table:
    """Users (user_id, distinct) whom the changes may touch; `stored` places of a list in pages of `k`.

    DuckDB has `lists` (user_id, items), the earlier ones, and `people` (user_id, attributes).
    """
    for name, rows in _tables(changes, k, stored).items():
        db.register(f"touched_{name}", rows)
    return db.sql(TOUCHED).to_arrow_table()


TOUCHED = """
WITH everybody AS (SELECT number FROM touched_audiences WHERE name IS NULL),
fitting AS (
    SELECT user_id, number FROM (SELECT user_id, unnest(map_entries(attributes)) AS entry FROM people)
    JOIN touched_audiences ON entry.key = name AND entry.value = touched_audiences.value
    GROUP BY user_id, number, size HAVING count(*) = size),
entries AS (SELECT user_id, unnest(items) AS item, unnest(range(len(items))) AS place FROM lists),
enough AS (
    SELECT user_id, number FROM
    (SELECT user_id, number, place // k AS page, count(*) AS has
     FROM entries JOIN touched_members USING (item) JOIN touched_pages USING (number) WHERE page = place // k
     GROUP BY ALL) JOIN touched_pages USING (number, page) WHERE has >= asked
    GROUP BY user_id, number, pages HAVING count(*) = pages)
SELECT user_id FROM lists WHERE list_has_any(items, (SELECT coalesce(list(item), []) FROM touched_hidden))
UNION SELECT user_id FROM lists SEMI JOIN (SELECT user_id FROM fitting WHERE number < 0) USING (user_id)
UNION SELECT user_id FROM (
    SELECT user_id, number FROM lists CROSS JOIN everybody
    UNION ALL SELECT user_id, number FROM fitting SEMI JOIN lists USING (user_id) WHERE number >= 0)
    ANTI JOIN enough USING (user_id, number)
"""


def _tables(changes: RuleChanges, k: int, stored: int) -> dict[str, pa.Table]:
    """The changes as tables for TOUCHED. Sets have numbers from 0, other audiences numbers below 0."""
    numbered = [*((-1 - n, each) for n, each in enumerate(changes.audiences))]
    numbered += [(n, each.audience) for n, each in enumerate(changes.sets)]
    audiences = [(n, *pair, len(each)) for n, each in numbered for pair in each or ((None, None),)]
    rooms = [min(k, stored - first) for first in range(0, stored, k)]
    pages = []
    for n, each in enumerate(changes.sets):
        asked = [(page, each.places * room // k) for page, room in enumerate(rooms) if each.places * room // k]
        pages += [(n, page, number, len(asked), k) for page, number in asked]
    members = [(n, item) for n, each in enumerate(changes.sets) for item in each.items]
    return {
        "hidden": _table([(item,) for item in changes.hidden], item=pa.string()),
        "audiences": _table(audiences, number=pa.int64(), name=pa.string(), value=pa.string(), size=pa.int64()),
        "members": _table(members, number=pa.int64(), item=pa.string()),
        "pages": _table(pages, **dict.fromkeys(("number", "page", "asked", "pages", "k"), pa.int64())),
    }


def _table(rows: list[tuple[Any, ...]], **types: pa.DataType) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, types.values(), strict=True)], list(types))
