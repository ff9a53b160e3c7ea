"""The page of gate 2: the verdict on each challenger, metrics by segment, learning curves, examples of changed lists.

One HTML file that loads nothing. The example lists carry no user id, and nothing that the user did.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.base import I32, Strings
from models.registry import RegisteredVersion
from nightloom.contracts import ITEMS
from nightloom.literals import one_of
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.pages.html import render
from training import plots, registration
from training.beyond_accuracy import overlap
from training.bootstrap_intervals import Interval, bootstrap_intervals
from training.refit import Refit
from training.scorecard import SEGMENTS, Scorecard
from training.verdict import Comparison, Verdict, outcome

TEMPLATE = Path(__file__).parent / "templates" / "model_gate.html"
EXAMPLES = 3
"""Users whose lists are shown."""


def page(
    night: Night, comparison: Comparison, verdict: Verdict, cards: Mapping[str, Scorecard],
    challengers: Mapping[str, RegisteredVersion], champion: RegisteredVersion | None, promoted: str | None,
    refit: Refit | None,
) -> str:  # fmt: skip
    """`cards` are the scorecards of all compared models, by the name to show."""
    rules = night.settings.gates.model
    metric = f"{rules.metric}@{rules.k}"
    names = {version: f"{model.name} v{version}" for version, model in challengers.items()}
    curves = {
        name: curve
        for version, name in names.items()
        if (curve := registration.learning_curves(night.settings, version))
    }
    gains = {names[version]: intervals for version, intervals in verdict.gains.items()}
    intervals = _segment_intervals(cards, rules.metric, night.settings.training.seed)
    return render(
        TEMPLATE,
        night=night.date,
        decision=f"version {promoted} is promoted" if promoted else "nobody is promoted",
        serving=str(refit) if refit else None,
        users=len(comparison.evaluation.holdout.user_ids),
        holdout_days=night.settings.training.holdout_days,
        mode=rules.mode,
        metric=metric,
        k=rules.k,
        challengers={
            f"{names[version]}: {outcome(verdict, version, promoted)}": _check_rows(checks)
            for version, checks in verdict.by_version.items()
        },
        models=_comparison_rows(cards),
        segments_picture=plots.interval_plot(intervals, metric),
        gains_picture=plots.interval_plot(gains, f"{metric} more than the champion", zero_line=True) if gains else None,
        curves_picture=plots.learning_curves(curves) if curves else None,
        changes=_list_changes(night, comparison, verdict.best, names, champion) if verdict.best is not None else None,
    )


def _check_rows(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [{"check": c.name, "passed": c.passed, "found": c.observed, "expected": c.expected} for c in checks]


def _comparison_rows(cards: Mapping[str, Scorecard]) -> list[dict[str, Any]]:
    return [
        {"model": name, **{metric: card.mean(metric) for metric in card.per_user}, **card.beyond_accuracy}
        for name, card in cards.items()
    ]


def _segment_intervals(cards: Mapping[str, Scorecard], metric: str, seed: int) -> dict[str, dict[str, Interval]]:
    """Model -> segment -> the metric's mean and interval."""
    cells = [(name, segment) for name in cards for segment in SEGMENTS]
    values_TM = np.stack([cards[n].per_user[metric][s] for n, s in cells], axis=1)
    by_cell = dict(zip(cells, bootstrap_intervals(values_TM, seed=seed), strict=True))
    return {name: {segment: by_cell[name, segment] for segment in SEGMENTS} for name in cards}


def _list_changes(
    night: Night, comparison: Comparison, version: str, names: Mapping[str, str], champion: RegisteredVersion | None
) -> dict[str, Any]:
    """How many lists change and by how much, with examples."""
    before, after = comparison.champion or comparison.popularity, comparison.challengers[version]
    same_T = overlap(before.lists_TK, after.lists_TK)
    new_first = float((before.lists_TK[:, 0] != after.lists_TK[:, 0]).mean())
    changed = np.flatnonzero(same_T < 1)[np.argsort(same_T[same_T < 1], kind="stable")]
    users = changed[np.unique(np.linspace(0, len(changed) - 1, EXAMPLES).astype(int))] if len(changed) else changed
    titles = _titles(night, comparison.evaluation.holdout.item_ids, [before.lists_TK[users], after.lists_TK[users]])
    return {
        "before": f"champion {champion.name} v{champion.version}" if champion else "floor popularity",
        "after": names[version],
        "same": f"{same_T.mean():.0%}",
        "first": f"{new_first:.0%}",
        "changed": f"{len(changed) / len(same_T):.0%}",
        "picture": plots.share_histogram(same_T, "share of the items that stay", before.lists_TK.shape[1]),
        "examples": [
            {
                "same": f"{same_T[user]:.0%}",
                "before": _titles_with_overlap(before.lists_TK[user], after.lists_TK[user], titles),
                "after": _titles_with_overlap(after.lists_TK[user], before.lists_TK[user], titles),
            }
            for user in users
        ],
    }


def _titles_with_overlap(own_K: I32, other_K: I32, titles: Mapping[int, str]) -> list[tuple[str, bool]]:
    """Each item's title, and whether the other list has the item too."""
    return [(titles[item], bool(item in other_K)) for item in own_K if item >= 0]


def _titles(night: Night, item_ids: Strings, lists: Sequence[I32]) -> dict[int, str]:
    """Title of every item of some lists; the id of an item without a row in silver.items."""
    numbers = sorted({int(item) for each in lists for item in each.ravel() if item >= 0})
    titles: dict[str, str] = {}
    if numbers and night.lake.exists(ITEMS):
        condition = one_of("item_id", [str(item_ids[number]) for number in numbers])
        rows = night.lake.rows(ITEMS, condition, ("item_id", "title"), night.pin(ITEMS))
        titles = dict(zip(rows["item_id"].to_pylist(), rows["title"].to_pylist(), strict=True))
    return {number: titles.get(str(item_ids[number]), str(item_ids[number])) for number in numbers}
