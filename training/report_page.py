"""The page of gate 2: the verdict on each challenger, metrics by segment, learning curves, which lists change.

One HTML file without anything to fetch. Example lists are of users without a name: no id, and nothing that they did.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import registry
from models.base import I32, Strings
from models.registry import Registered
from nightloom.contracts import ITEMS
from nightloom.literals import one_of
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.pages.html import render
from training import plots
from training.bootstrap_intervals import Interval, intervals
from training.ranking_metrics import F64
from training.scorecard import SEGMENTS, Scorecard
from training.verdict import Comparison, Verdict, outcome

TEMPLATE = Path(__file__).parent / "templates" / "model_gate.html"
EXAMPLES = 3


def page(
    night: Night, comparison: Comparison, verdict: Verdict, cards: Mapping[str, Scorecard],
    challengers: Mapping[str, Registered], champion: Registered | None, promoted: str | None,
) -> str:  # fmt: skip
    """`cards` are all that were compared, by the name to show."""
    rules = night.settings.gates.model
    metric = f"{rules.metric}@{rules.k}"
    names = {version: f"{one.name} v{version}" for version, one in challengers.items()}
    curves = {name: found for version, name in names.items() if (found := registry.curves(night.settings, version))}
    gains = {names[version]: found for version, found in verdict.gains.items()}
    levels = _levels(cards, rules.metric, night.settings.training.seed)
    return render(
        TEMPLATE,
        night=night.date,
        decision=f"version {promoted} is promoted" if promoted else "nobody is promoted",
        users=len(comparison.evaluation.holdout.user_ids),
        holdout_days=night.settings.training.holdout_days,
        mode=rules.mode,
        metric=metric,
        k=rules.k,
        challengers={
            f"{names[version]}: {outcome(verdict, version, promoted)}": _checks(checks)
            for version, checks in verdict.by_version.items()
        },
        models=_compared(cards),
        segments_picture=plots.by_segment(levels, metric),
        gains_picture=plots.by_segment(gains, f"{metric} more than the champion", zero=True) if gains else None,
        curves_picture=plots.curves(curves) if curves else None,
        changes=_changes(night, comparison, verdict.best, names, champion) if verdict.best is not None else None,
    )


def _checks(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [{"check": c.name, "held": c.passed, "found": c.observed, "expected": c.expected} for c in checks]


def _compared(cards: Mapping[str, Scorecard]) -> list[dict[str, Any]]:
    return [
        {"model": name, **{metric: card.mean(metric) for metric in card.per_user}, **card.beyond_accuracy}
        for name, card in cards.items()
    ]


def _levels(cards: Mapping[str, Scorecard], metric: str, seed: int) -> dict[str, dict[str, Interval]]:
    """Model -> segment -> the metric's mean and interval."""
    cells = [(name, segment) for name in cards for segment in SEGMENTS]
    found = intervals(np.stack([cards[n].per_user[metric][s] for n, s in cells], axis=1), seed=seed)
    by_cell = dict(zip(cells, found, strict=True))
    return {name: {segment: by_cell[name, segment] for segment in SEGMENTS} for name in cards}


def _changes(
    night: Night, comparison: Comparison, version: str, names: Mapping[str, str], champion: Registered | None
) -> dict[str, Any]:
    """How much of the lists changes, and some lists that do."""
    before, after = comparison.champion or comparison.popularity, comparison.challengers[version]
    same_T = overlap(before.lists_TK, after.lists_TK)
    first = float((before.lists_TK[:, 0] != after.lists_TK[:, 0]).mean())
    changed = np.flatnonzero(same_T < 1)[np.argsort(same_T[same_T < 1], kind="stable")]
    chosen = changed[np.unique(np.linspace(0, len(changed) - 1, EXAMPLES).astype(int))] if len(changed) else changed
    titles = _titles(night, comparison.evaluation.holdout.item_ids, [before.lists_TK[chosen], after.lists_TK[chosen]])
    return {
        "before": f"champion {champion.name} v{champion.version}" if champion else "floor popularity",
        "after": names[version],
        "same": f"{same_T.mean():.0%}",
        "first": f"{first:.0%}",
        "changed": f"{len(changed) / len(same_T):.0%}",
        "picture": plots.shares(same_T, "share of the items that stay", before.lists_TK.shape[1]),
        "examples": [
            {
                "same": f"{same_T[user]:.0%}",
                "before": _list(before.lists_TK[user], after.lists_TK[user], titles),
                "after": _list(after.lists_TK[user], before.lists_TK[user], titles),
            }
            for user in chosen
        ],
    }


def overlap(one_TK: I32, other_TK: I32) -> F64:
    """T: share of the longer list's items that is in both, 1 for two empty ones."""
    both_T = sum(((other_TK == one_TK[:, [place]]).any(axis=1) & (one_TK[:, place] >= 0)).astype(int)
                 for place in range(one_TK.shape[1]))  # fmt: skip
    longer_T = np.maximum((one_TK >= 0).sum(axis=1), (other_TK >= 0).sum(axis=1))
    return np.where(longer_T > 0, both_T / np.maximum(longer_T, 1), 1.0)


def _list(mine_K: I32, other_K: I32, titles: Mapping[int, str]) -> list[tuple[str, bool]]:
    """A list's titles, and whether the other one has the item, too."""
    return [(titles[item], bool(item in other_K)) for item in mine_K if item >= 0]


def _titles(night: Night, item_ids: Strings, lists: Sequence[I32]) -> dict[int, str]:
    """Titles of all items of some lists, the id where nobody described one."""
    numbers = sorted({int(item) for each in lists for item in each.ravel() if item >= 0})
    found: dict[str, str] = {}
    if numbers and night.lake.exists(ITEMS):
        listed = one_of("item_id", [str(item_ids[number]) for number in numbers])
        rows = night.lake.rows(ITEMS, listed, ("item_id", "title"), night.pin(ITEMS))
        found = dict(zip(rows["item_id"].to_pylist(), rows["title"].to_pylist(), strict=True))
    return {number: found.get(str(item_ids[number]), str(item_ids[number])) for number in numbers}
