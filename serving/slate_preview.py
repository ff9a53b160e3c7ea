"""A user's history, the champion and the slate rules of nightloom.toml as it is -> the list before and after the rules.

Made anew at each call and published nowhere: a rule can be tried before a night runs with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from nightloom import slate_plan
from nightloom.errors import MissingTableError, UnknownUserError
from nightloom.lake import Lake
from nightloom.settings import Settings
from nightloom.slate import Plan
from nightloom.slate_lists import Slates
from nightloom.tables import ITEM_STATS, ITEMS, USERS
from serving.explain import history_of
from spark_jobs import ruled
from training.registry import RegistryError, champion

BATCH = pa.schema([
    ("user_id", pa.string()), ("items", pa.list_(pa.string())), ("weights", pa.list_(pa.float32())),
    ("seconds", pa.list_(pa.int64())), ("words", pa.list_(pa.string())),
])  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One place of a list."""

    item_id: str
    title: str
    score: float
    rule: str | None
    """The last rule that put the item above another one; None: it stands here by its score, as far as others left."""


@dataclass(frozen=True)
class Step:
    """What one rule did to the first page."""

    rule: str
    kind: str
    items: int
    """Items the rule speaks of."""
    brought: list[str]
    took: list[str]
    moved: bool
    """Whether the whole list stands in another order, or holds other items."""
    relevance_lost: float


@dataclass(frozen=True)
class Preview:
    user: str
    night: date
    model: str
    before: list[Line]
    after: list[Line]
    steps: list[Step]


def preview(settings: Settings, user: str, night: date | None = None, k: int | None = None) -> Preview:
    """The first `k` (slate.k) places. Raises UnknownUserError for a user without a history on that night."""
    lake = Lake(settings.place("lake"))
    night = night or _newest(lake)
    history = history_of(lake, str(night), user)
    if not history:
        raise UnknownUserError(f"user {user} has no interaction up to {night}; such a reader gets the popular list")
    if (found := champion(settings)) is None:
        raise RegistryError("there is no champion yet; run training.train, then training.model_gate")
    whole = slate_plan.plan(lake, settings, night, lake.version(ITEMS), lake.version(ITEM_STATS))
    plan = whole.of(found.model.item_ids)
    row = {
        "user_id": user, "items": [event["item_id"] for event in history],
        "weights": [event["weight"] for event in history],
        "seconds": [int(event["at"].timestamp()) for event in history], "words": _words(lake, user),
    }  # fmt: skip
    made = ruled.made(found.model, plan, pa.RecordBatch.from_pylist([row], schema=BATCH))
    titles = _Titles(lake, plan.ids)
    kinds = {name: type(rule).__name__.lower() for name, rule in settings.slate.rules}
    steps = [_step(made, titles, number, kinds, whole) for number in range(len(plan.names))]
    shown = k or settings.slate.k
    before, after = (_lines(made, step, shown, titles, plan.names) for step in (0, len(plan.names)))
    return Preview(user, night, f"{found.name} version {found.version}", before, after, steps)


def _newest(lake: Lake) -> date:
    nights = lake.rows(ITEM_STATS, columns=["max(night) AS night"])["night"].to_pylist()
    if nights == [None]:
        raise MissingTableError("gold.item_stats has no night yet; run one first")
    found: date = nights[0]
    return found


def _words(lake: Lake, user: str) -> list[str]:
    """What silver.users says of a user."""
    if not lake.exists(USERS):
        return []
    quoted = user.replace("'", "''")
    rows = lake.rows(USERS, f"user_id = '{quoted}'", ("attributes",)).to_pylist()
    return [f"{name}={value}" for row in rows for name, value in row["attributes"]]


def _step(made: Slates, titles: _Titles, number: int, kinds: dict[str, str], plan: Plan) -> Step:
    before, after = (made.items(step)[0, : made.k].tolist() for step in (number, number + 1))
    brought, took = (
        [item for item in one if item not in [*other, -1]] for one, other in ((after, before), (before, after))
    )
    name, moved = plan.names[number], bool((made.steps[number] != made.steps[number + 1]).any())
    lost = float(made.done[number, 3])
    return Step(name, kinds[name], plan.items[number], titles.of(brought), titles.of(took), moved, lost)


def _lines(made: Slates, step: int, k: int, titles: _Titles, names: tuple[str, ...]) -> list[Line]:
    items, scores = made.items(step)[0, :k].tolist(), made.scores(step)[0, :k].tolist()
    shown = [(item, score) for item, score in zip(items, scores, strict=True) if item >= 0]
    words = titles.of([item for item, _ in shown])
    return [
        Line(titles.id(item), title, score, _mover(made, item, names[:step]))
        for (item, score), title in zip(shown, words, strict=True)
    ]


def _mover(made: Slates, item: int, names: tuple[str, ...]) -> str | None:
    """The last rule that put an item above another one."""
    for number in reversed(range(len(names))):
        before, after = (made.items(step)[0].tolist() for step in (number, number + 1))
        place = after.index(item) if item in after else len(after)
        above = before[: before.index(item)] if item in before else before
        if item in after and any(other in after[place:] for other in above if other >= 0):
            return names[number]
    return None


class _Titles:
    """Titles of items by their place in a plan; the id where nobody described one."""

    def __init__(self, lake: Lake, ids: pa.Array) -> None:
        self.lake, self.ids = lake, ids

    def id(self, item: int) -> str:
        return str(self.ids[item].as_py())

    def of(self, items: list[int]) -> list[str]:
        ids = [self.id(item) for item in items]
        wanted = ", ".join("'" + one.replace("'", "''") + "'" for one in ids) or "''"
        rows = self.lake.rows(ITEMS, f"item_id IN ({wanted})", ("item_id", "title"))
        known: dict[str, Any] = dict(zip(rows["item_id"].to_pylist(), rows["title"].to_pylist(), strict=True))
        return [str(known.get(one, one)) for one in ids]
