"""The page of gate 2: the verdict on each challenger, metrics by segment, learning curves, which lists change.

One HTML file without anything to fetch. Example lists are of users without a name: no id, and nothing that they did.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from models import registry
from models.base import I32, Strings
from models.registry import Registered
from nightloom.contracts import ITEMS
from nightloom.literals import one_of
from nightloom.night.context import Night
from nightloom.page import page as whole
from nightloom.page import table
from training import plots
from training.bootstrap_intervals import Interval, intervals
from training.ranking_metrics import F64
from training.scorecard import SEGMENTS, Scorecard
from training.verdict import Comparison, Verdict, outcome

EXAMPLES = 3


def page(
    night: Night, comparison: Comparison, verdict: Verdict, cards: Mapping[str, Scorecard],
    challengers: Mapping[str, Registered], champion: Registered | None, promoted: str | None,
) -> str:  # fmt: skip
    """`cards` are all that were compared, by the name to show."""
    rules = night.settings.gates.model
    metric, said = f"{rules.metric}@{rules.k}", f"version {promoted} is promoted" if promoted else "nobody is promoted"
    names = {version: f"{one.name} v{version}" for version, one in challengers.items()}
    curves = {name: found for version, name in names.items() if (found := registry.curves(night.settings, version))}
    parts = [
        f"<h1>Gate 2, night of {night.date}: {said}</h1>",
        f"<p>{len(comparison.evaluation.holdout.user_ids):,} users who liked something new in the last "
        f"{night.settings.training.holdout_days} days judge. Each model ranks the whole catalogue for each of them, "
        f"from what they did before; what they had seen is left out. Mode: {rules.mode}.</p>",
        _verdicts(verdict, names, promoted),
        f"<h2>On the same later days</h2><div class='wide'>{table(_compared(cards))}</div><p>novelty: bits; "
        "popularity: users who liked what is listed; popularity_lift: over what was liked in the end.</p>",
        f"<h2>{metric} by segment</h2><p>Means, with 95 % intervals.</p>"
        f"{plots.by_segment(_levels(cards, rules.metric, night.settings.training.seed), metric)}",
    ]
    if verdict.gains:
        gains = {names[version]: found for version, found in verdict.gains.items()}
        parts.append(
            f"<h2>Gain over the champion</h2><p>Paired by user; 95 % for all challengers together.</p>"
            f"{plots.by_segment(gains, f'{metric} more than the champion', zero=True)}"
        )
    if curves:
        parts.append(f"<h2>Learning curves</h2>{plots.curves(curves)}")
    if verdict.best is not None:
        before = comparison.champion or comparison.popularity
        known_as = f"champion {champion.name} v{champion.version}" if champion else "floor popularity"
        parts.append(_changes(night, comparison, verdict.best, names[verdict.best], before, known_as))
    return whole(f"Gate 2, {night.date}", parts)


def _verdicts(verdict: Verdict, names: Mapping[str, str], promoted: str | None) -> str:
    """Every check of every challenger."""
    told = ""
    for version, checks in verdict.by_version.items():
        rows = [{"check": c.name, "held": c.passed, "found": c.observed, "expected": c.expected} for c in checks]
        told += f"<h2>{names[version]}: {outcome(verdict, version, promoted)}</h2>{table(rows)}"
    return told


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


def _changes(night: Night, comparison: Comparison, version: str, name: str, before: Scorecard, known_as: str) -> str:
    """How much of the lists changes, and some lists that do."""
    after = comparison.challengers[version]
    same_T = overlap(before.lists_TK, after.lists_TK)
    first = float((before.lists_TK[:, 0] != after.lists_TK[:, 0]).mean())
    changed = np.flatnonzero(same_T < 1)[np.argsort(same_T[same_T < 1], kind="stable")]
    chosen = changed[np.unique(np.linspace(0, len(changed) - 1, EXAMPLES).astype(int))] if len(changed) else changed
    told = (
        f"<h2>Which lists change</h2><p>{name} against {known_as}, first {night.settings.gates.model.k}: "
        f"{same_T.mean():.0%} of the items are the same, {first:.0%} of the lists begin with another one, "
        f"{len(changed) / len(same_T):.0%} change at all.</p>"
        + plots.shares(same_T, "share of the items that stay", before.lists_TK.shape[1])
    )
    titles = _titles(night, comparison.evaluation.holdout.item_ids, [before.lists_TK[chosen], after.lists_TK[chosen]])
    for user in chosen:
        lists = [card.lists_TK[user] for card in (before, after)]
        cells = [_list(mine, other, titles) for mine, other in (lists, lists[::-1])]
        head = f"<tr><th>{escape(known_as)}</th><th>{escape(name)}</th></tr>"
        told += f"<p>Somebody whose lists have {same_T[user]:.0%} in common:</p>"
        told += f"<table>{head}<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr></table>"
    return told


def overlap(one_TK: I32, other_TK: I32) -> F64:
    """T: share of the longer list's items that is in both, 1 for two empty ones."""
    both_T = sum(((other_TK == one_TK[:, [place]]).any(axis=1) & (one_TK[:, place] >= 0)).astype(int)
                 for place in range(one_TK.shape[1]))  # fmt: skip
    longer_T = np.maximum((one_TK >= 0).sum(axis=1), (other_TK >= 0).sum(axis=1))
    return np.where(longer_T > 0, both_T / np.maximum(longer_T, 1), 1.0)


def _list(mine_K: I32, other_K: I32, titles: Mapping[int, str]) -> str:
    """A list, what the other one lacks in bold."""
    shown = [
        escape(titles[item]) if item in other_K else f"<b>{escape(titles[item])}</b>" for item in mine_K if item >= 0
    ]
    return "<ol>" + "".join(f"<li>{item}</li>" for item in shown) + "</ol>"


def _titles(night: Night, item_ids: Strings, lists: Sequence[I32]) -> dict[int, str]:
    """Titles of all items of some lists, the id where nobody described one."""
    numbers = sorted({int(item) for each in lists for item in each.ravel() if item >= 0})
    found: dict[str, str] = {}
    if numbers and night.lake.exists(ITEMS):
        listed = one_of("item_id", [str(item_ids[number]) for number in numbers])
        rows = night.lake.rows(ITEMS, listed, ("item_id", "title"), night.pin(ITEMS))
        found = dict(zip(rows["item_id"].to_pylist(), rows["title"].to_pylist(), strict=True))
    return {number: found.get(str(item_ids[number]), str(item_ids[number])) for number in numbers}
