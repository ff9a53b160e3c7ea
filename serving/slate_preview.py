"""A user's history, the champion and the slate rules of nightloom.toml as it is -> the list before and after the rules.

Computed at each call and published nowhere: a rule can be tried before a night runs with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from models.registry import RegistryError, serving_version
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, USERS
from nightloom.errors import MissingTableError, UnknownUserError
from nightloom.lake import Lake
from nightloom.lake.described_items import compile_slate
from nightloom.literals import one_of
from nightloom.night import stages
from nightloom.settings import Settings
from serving.history import read_profile
from serving.replay import Replay, replay_list

INPUTS = (HISTORIES, ITEMS, ITEM_STATS)


@dataclass(frozen=True)
class Line:
    """One place of a list."""

    item_id: str
    title: str
    score: float
    rule: str | None
    """The last rule that put the item above another one; None: it stands here by its score, as far as others left."""


@dataclass(frozen=True)
class RuleEffect:
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
    steps: list[RuleEffect]


def build_preview(settings: Settings, user: str, night: date | None = None, k: int | None = None) -> Preview:
    """The first `k` (slate.k) places. Raises UnknownUserError for a user without a history on that night."""
    lake = Lake(settings.place("lake"))
    night = night or _newest(lake)
    inputs = (*INPUTS, USERS) if lake.exists(USERS) else INPUTS
    reads = {table.full_name: lake.version(table) for table in inputs}
    who = read_profile(lake, user, str(night), reads)
    if not who.events:
        raise UnknownUserError(f"user {user} has no interaction up to {night}; such a reader gets the popular list")
    if (found := serving_version(settings)) is None:
        raise RegistryError(f"there is no champion yet; run {stages.TRAIN.name}, then {stages.MODEL_GATE.name}")
    plan = compile_slate(lake, settings, night, reads[ITEMS.full_name], reads[ITEM_STATS.full_name])
    replayed = replay_list(settings, found.model, plan, who)
    titles, rules = _titles(lake, replayed), range(len(plan.names))
    before, after = (_lines(replayed, step, k or settings.slate.k, titles) for step in (0, len(rules)))
    steps = [_step(replayed, number, titles) for number in rules]
    return Preview(user, night, f"{found.name} version {found.version}", before, after, steps)


def _newest(lake: Lake) -> date:
    nights = lake.rows(ITEM_STATS, columns=["max(night) AS night"])["night"].to_pylist()
    if nights == [None]:
        raise MissingTableError("gold.item_stats has no night yet; run one first")
    found: date = nights[0]
    return found


def _titles(lake: Lake, replayed: Replay) -> dict[str, str]:
    """Titles of the items in any of the lists; the id where no source described an item."""
    ids = sorted({item for step in range(len(replayed.plan.names) + 1) for item in replayed.items(step)})
    rows = lake.rows(ITEMS, one_of("item_id", ids), ("item_id", "title")).to_pylist()
    return {one: one for one in ids} | {str(row["item_id"]): str(row["title"]) for row in rows}


def _step(replayed: Replay, number: int, titles: dict[str, str]) -> RuleEffect:
    k, name = replayed.plan.k, replayed.plan.names[number]
    before, after = replayed.items(number), replayed.items(number + 1)
    brought, took = (
        [titles[item] for item in one[:k] if item not in other[:k]] for one, other in ((after, before), (before, after))
    )
    lost = float(replayed.slates.rule_statistics[number, 3])
    return RuleEffect(
        name, replayed.rules[name].kind(), replayed.plan.rules[number].items, brought, took, before != after, lost
    )


def _lines(replayed: Replay, step: int, k: int, titles: dict[str, str]) -> list[Line]:
    shown = list(zip(replayed.items(step), replayed.scores(step), strict=True))[:k]
    return [Line(item, titles[item], score, replayed.lifted_by(item) if step else None) for item, score in shown]
