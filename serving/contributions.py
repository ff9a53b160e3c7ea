"""One score -> the interactions and the user's attributes that contribute most to it, by the model that gave it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake
from nightloom.literals import one_of
from serving.history import UserProfile
from serving.stores.reader import Snapshot

if TYPE_CHECKING:
    from models.base import Model

MAX_CAUSES = 5


@dataclass(frozen=True)
class Cause:
    """One interaction and its contribution to the score.

    `share` is relative to the sum of all positive contributions; a negative share speaks against the item.
    """

    item_id: str
    title: str
    at: datetime
    event: str
    value: float | None
    share: float


@dataclass(frozen=True)
class AttributeEffect:
    """An attribute of the user, such as `gender=F`, and the item's rank by score without it and with it."""

    attribute: str
    before: int
    after: int


def find_causes(lake: Lake, snapshot: Snapshot, model: Model, history: list[dict[str, Any]], item: str) -> list[Cause]:
    """The interactions of a history that contribute most; none where no like speaks for the item."""
    from models.base import Histories, positions  # torch and MLflow: loaded only for an explanation

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
    top = sorted(zip(parts, used, strict=True), key=lambda pair: -pair[0])[:MAX_CAUSES]
    return _describe_causes(lake, snapshot, [(part / support, event) for part, event in top])


def attribute_effects(model: Model, who: UserProfile, item: str) -> list[AttributeEffect]:
    """The attributes that change the item's rank among all items that the user did not touch.

    None where the model takes no attributes.
    """
    import numpy as np

    from models.base import Histories, positions
    from models.recommend import scores

    index = positions(model.item_ids)
    if not who.attributes or item not in index:
        return []
    variants = [
        who.attributes,
        *([other for other in who.attributes if other != left_out] for left_out in who.attributes),
    ]
    items, weights = ([event[name] for event in who.events] for name in ("item_id", "weight"))
    times = [int(event["at"].timestamp()) for event in who.events]
    count = len(variants)
    found = scores(
        model, Histories.from_lists(model.item_ids, [items] * count, [weights] * count, [times] * count, variants)
    )
    found[:, [index[touched] for touched in items if touched in index]] = -np.inf
    after, *before = (found > found[:, [index[item]]]).sum(axis=1) + 1
    ranks = zip(who.attributes, before, strict=True)
    return [AttributeEffect(attribute, int(rank), int(after)) for attribute, rank in ranks if rank != after]


def _describe_causes(lake: Lake, snapshot: Snapshot, weighed: list[tuple[float, dict[str, Any]]]) -> list[Cause]:
    """Contributions and their events -> causes, with the kind of event and its value from silver.interactions."""
    these = one_of("event_id", [event["event_id"] for _, event in weighed])
    rows = lake.rows(INTERACTIONS, these, ("event_id", "event", "value")).to_pylist()
    details = {row["event_id"]: row for row in rows}
    return [
        Cause(
            event["item_id"], snapshot.title(event["item_id"]), event["at"],
            details.get(event["event_id"], {}).get("event", "erased"),
            details.get(event["event_id"], {}).get("value"), share,
        )
        for share, event in weighed
    ]  # fmt: skip
