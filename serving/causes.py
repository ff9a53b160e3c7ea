"""One score -> the interactions, and the words said of the user, that weigh most in it, by the model that gave it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake
from serving.history import Person
from serving.stores.reading import Snapshot

if TYPE_CHECKING:
    from models.base import Model

MOST_CAUSES = 5


@dataclass(frozen=True)
class Cause:
    """One interaction and what it did for the score; `share` is of all that speaks for the item, negative: against."""

    item_id: str
    title: str
    at: datetime
    event: str
    value: float | None
    share: float


@dataclass(frozen=True)
class Word:
    """Something said of the user, such as `gender=F`, and the item's rank by score without it and with it."""

    word: str
    before: int
    after: int


def causes(lake: Lake, snapshot: Snapshot, model: Model, history: list[dict[str, Any]], item: str) -> list[Cause]:
    """The interactions of a history that weigh most; none where no like speaks for the item."""
    from models.base import Histories, positions  # torch and MLflow: only when somebody asks

    index = positions(model.item_ids)
    used = [event for event in history if event["weight"] > 0 and event["item_id"] in index]
    if not used or item not in index:
        return []
    one = Histories.from_lists(
        model.item_ids, [[event["item_id"] for event in used]], [[event["weight"] for event in used]],
        [[int(event["at"].timestamp()) for event in used]],
    )  # fmt: skip
    parts = [float(part) for part in model.contributions(one, index[item])]
    support = sum(part for part in parts if part > 0)
    if not support:
        return []
    top = sorted(zip(parts, used, strict=True), key=lambda pair: -pair[0])[:MOST_CAUSES]
    return _told(lake, snapshot, [(part / support, event) for part, event in top])


def by_words(model: Model, who: Person, item: str) -> list[Word]:
    """The words that move the item's rank among all that the user did not touch; none where the model takes none."""
    import numpy as np

    from models.base import Histories, positions
    from models.recommend import scores

    index = positions(model.item_ids)
    if not who.words or item not in index:
        return []
    said = [who.words, *([other for other in who.words if other != word] for word in who.words)]
    items, weights = ([event[name] for event in who.events] for name in ("item_id", "weight"))
    times = [int(event["at"].timestamp()) for event in who.events]
    again = len(said)
    found = scores(
        model, Histories.from_lists(model.item_ids, [items] * again, [weights] * again, [times] * again, said)
    )
    found[:, [index[touched] for touched in items if touched in index]] = -np.inf
    after, *before = (found > found[:, [index[item]]]).sum(axis=1) + 1
    moved = zip(who.words, before, strict=True)
    return [Word(word, int(without), int(after)) for word, without in moved if without != after]


def _told(lake: Lake, snapshot: Snapshot, weighed: list[tuple[float, dict[str, Any]]]) -> list[Cause]:
    """Add to each event what it was, from silver.interactions."""
    ids = ", ".join("'" + event["event_id"].replace("'", "''") + "'" for _, event in weighed)
    rows = lake.rows(INTERACTIONS, f"event_id IN ({ids})", ("event_id", "event", "value")).to_pylist()
    told = {row["event_id"]: row for row in rows}
    return [
        Cause(
            event["item_id"], snapshot.title(event["item_id"]), event["at"],
            told.get(event["event_id"], {}).get("event", "erased"), told.get(event["event_id"], {}).get("value"), share,
        )
        for share, event in weighed
    ]  # fmt: skip
