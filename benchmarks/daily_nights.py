"""Night after night over the last two months of MovieLens 100K: each night's lists, judged on the next day's likes.

A model is trained every `training.every_days`, as nights do it. It serves as gate 2 judges it, without the last
`holdout_days`; as its refit, trained on all days up to the night of the training; and as this refit with the items that
came since, as nights between trainings take them. All make the lists of each night from what users did up to it.
`./run bench nights --daily` runs it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_array

from benchmarks.processors import processor
from models.base import Examples, ExtendableModel, Model, Strings
from nightloom.settings import ModelSpec, Settings
from training import new_items, trainers
from training.bootstrap_intervals import bootstrap_intervals
from training.dataset import Holdout, holdout_after, log_from_arrow
from training.ranking_metrics import F64, Bools, hits, ndcg, ranked_lists, recall

NIGHTS, NEW_DAYS = 60, 14
JUDGED, REFIT, EXTENDED = "the judged version", "its refit", "its refit, with new items"
WithFeatures = Callable[[Holdout], Holdout]
"""Adds the features of users."""


@dataclass
class Days:
    """Values of each user on each day, under one way to serve."""

    ndcg: list[F64] = field(default_factory=list)
    new_items: list[F64] = field(default_factory=list)
    """Recall of the new items that the user liked; for users who liked one."""

    def figures(self) -> dict[str, float]:
        """Means over users and days."""
        return {name: round(float(np.concatenate(days).mean()), 4) for name, days in vars(self).items()}


def run(
    log: pa.Table, end: datetime, spec: ModelSpec, settings: Settings,
    examples_before: Callable[[datetime], Examples], with_features: WithFeatures,
) -> dict[str, Days]:  # fmt: skip
    """Way to serve -> its days. `log` has all ratings, `end` is the end of the last day."""
    found, served = {name: Days() for name in (JUDGED, REFIT, EXTENDED)}, dict[str, Model]()
    for number in range(NIGHTS):
        night_end = end - timedelta(days=NIGHTS - number)
        if number % settings.training.every_days == 0:
            cut = night_end - timedelta(days=settings.training.holdout_days)
            judged = trainers.fit(spec.name, examples_before(cut), spec.params)
            refit = trainers.refit(judged, examples_before(night_end))
            served = {JUDGED: judged, REFIT: refit, EXTENDED: refit}
            print(f"{spec.name} trained for the night before {night_end:%Y-%m-%d}", flush=True)
        elif unknown_share(log, night_end, served[EXTENDED].item_ids) > settings.training.max_unknown_share:
            served[EXTENDED] = extend(served[EXTENDED], examples_before(night_end))
        until = log.filter(pc.field("at") < int((night_end + timedelta(days=1)).timestamp()))
        later = with_features(holdout_after(log_from_arrow(until.to_batches()), night_end))
        if len(later.user_ids):
            new_I = is_new(until, later, night_end)
            for name, model in served.items():
                add_day(found[name], model, later, new_I, settings.gates.model.k)
    return found


def unknown_share(log: pa.Table, moment: datetime, known: Strings) -> float:
    """Share of the likes of the last new_items.DAYS before a moment that are of other items than the known ones."""
    since = (moment - timedelta(days=new_items.DAYS)).timestamp()
    at = (pc.field("at") >= int(since)) & (pc.field("at") < int(moment.timestamp()))
    items = log.filter(at & (pc.field("weight") > 0))["item_id"].to_pylist()
    return float(np.mean(~np.isin(items, known))) if items else 0.0


def extend(model: Model, examples: Examples) -> Model:
    """The model with the examples' items, if it takes new ones."""
    extended: Model = model.extended(examples) if isinstance(model, ExtendableModel) else model
    return extended


def is_new(log: pa.Table, later: Holdout, moment: datetime) -> Bools:
    """I: whether an item was first liked in the NEW_DAYS before a moment."""
    first = log.filter(pc.field("weight") > 0).group_by("item_id").aggregate([("at", "min")])
    at = dict(zip(first["item_id"].to_pylist(), first["at_min"].to_pylist(), strict=True))
    since, until = (moment - timedelta(days=NEW_DAYS)).timestamp(), moment.timestamp()
    return np.array([since <= at.get(item, 0) < until for item in later.item_ids.tolist()])


def add_day(days: Days, model: Model, later: Holdout, new_I: Bools, k: int) -> None:
    """Add the values of a day's users."""
    ids_TK = ranked_lists(model, later, k)
    days.ndcg.append(ndcg(hits(ids_TK, later.targets), np.diff(later.targets.indptr)))
    of_new = csr_array(later.targets.multiply(new_I[None, :]) > 0)
    counts_T = np.diff(of_new.indptr)
    days.new_items.append(recall(hits(ids_TK, of_new), np.maximum(counts_T, 1))[counts_T > 0])


def print_results(found: Mapping[str, Days], spec: ModelSpec, settings: Settings) -> dict[str, dict[str, float]]:
    """Print the table -> its figures."""
    k = settings.gates.model.k
    table = Table(
        f"{spec.name}: what serves", f"NDCG@{k}", f"recall@{k} of items first liked in the last {NEW_DAYS} days",
        title=f"MovieLens 100K, {NIGHTS} nights, each judged on the next day; trained every "
        f"{settings.training.every_days} days",
        caption=f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    )  # fmt: skip
    for name, days in found.items():
        table.add_row(name, *(f"{value:.4f}" for value in days.figures().values()))
    for better, worse in ((REFIT, JUDGED), (EXTENDED, REFIT)):
        gains = (_gain(found[better], found[worse], name) for name in vars(found[better]))
        table.add_row(f"gain of {better.removeprefix('its refit, ')}, paired by user and day", *gains)
    Console(width=150).print(table)
    return {name: days.figures() for name, days in found.items()}


def _gain(one: Days, other: Days, name: str) -> str:
    more_U = np.concatenate(getattr(one, name)) - np.concatenate(getattr(other, name))
    return f"{bootstrap_intervals(more_U[:, None], seed=0)[0]} ({len(more_U):,})"
