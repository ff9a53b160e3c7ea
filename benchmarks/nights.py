"""The models of nightloom.toml on MovieLens 100K: at several cuts trained on all before, judged on the days after.

As gate 2 judges: the whole catalogue, for everybody who likes something new in the `holdout_days` after the cut, from
histories as of the cut. No day judges twice. The best on the earlier cuts is chosen; the last two cuts choose nothing.
Last line: JSON.
"""

import argparse
import json
import os
import platform
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

import models
from models.base import Histories, Strings
from models.features import Features
from nightloom import settings as settings_module
from nightloom.literals import sql_text
from nightloom.samples import ml_100k
from nightloom.samples.command import cache
from nightloom.settings import ModelSpec, Settings
from training import trainers
from training.bootstrap_intervals import intervals
from training.dataset import InteractionLog, examples, log_from_arrow
from training.ranking_metrics import F64, Bools
from training.scorecard import EvaluationSet, evaluation_set, scorecard

LATER = 2
"""Of the cuts, those that choose nothing."""
SAMPLE = Path(__file__).parents[1] / "nightloom.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=SAMPLE, help="whose [[models]]")
    parser.add_argument("--models", help="names, comma between; without it all that it declares")
    parser.add_argument("--cuts", type=int, default=14)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each model at each cut")
    given = parser.parse_args()
    if given.cuts <= LATER:
        parser.error(f"--cuts {given.cuts}: the last {LATER} choose nothing, so it takes {LATER + 1} at least")
    settings = settings_module.load(given.config)
    days, (signal, *_) = settings.training.holdout_days, settings.signals
    wanted, there = given.models.split(",") if given.models else None, [one.name for one in settings.models]
    if unknown := sorted(set(wanted or ()) - set(there)):
        parser.error(f"--models: {', '.join(unknown)} not in {given.config}, which declares {', '.join(there)}")
    specs = [one for one in settings.models if wanted is None or one.name in wanted]
    wheel = ml_100k.fetch(cache())
    log, words = ratings(wheel, signal.min_value or 0), said(wheel, settings)
    last = datetime.fromtimestamp(pc.max(log["at"]).as_py(), UTC)
    end = last.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    cuts = [end - timedelta(days=days * back) for back in range(given.cuts, 0, -1)]
    found: dict[str, list[F64]] = {spec.name: [] for spec in specs}
    warm: list[Bools] = []
    for cut in cuts:
        evaluation = evaluation_set(log_from_arrow(earlier(log, cut + timedelta(days=days))), cut)
        later, warm_T = evaluation.holdout, evaluation.holdout.warm_T
        evaluation = replace(
            evaluation, holdout=replace(later, histories=described(later.histories, later.user_ids, words))
        )
        warm.append(warm_T)
        print(f"cut {cut:%Y-%m-%d}: {len(warm_T)} users judge, {(~warm_T).sum()} of them new", flush=True)
        likes = log_from_arrow(earlier(log, cut).filter(pc.field("weight") > 0))
        for spec in specs:
            values_T = per_user(likes, words, cut, evaluation, spec, settings.gates.model.k, given.seeds)
            found[spec.name].append(values_T)
            print(f"cut {cut:%Y-%m-%d}: {spec.name} NDCG {values_T.mean():.4f}", flush=True)
    told(found, warm, cuts, settings, given.seeds)


def ratings(wheel: Path, least: float) -> pa.Table:
    """All of them; a like is one of `least` or more."""
    with zipfile.ZipFile(wheel) as archive:
        rows = list(ml_100k.read(archive, "inter"))
    return pa.table({
        "user_id": [row["user_id"] for row in rows],
        "item_id": [row["item_id"] for row in rows],
        "weight": [float(float(row["rating"]) >= least) for row in rows],
        "at": [int(row["timestamp"]) for row in rows],
    })  # fmt: skip


def earlier(log: pa.Table, moment: datetime) -> pa.Table:
    return log.filter(pc.field("at") < int(moment.timestamp()))


Words = dict[str, list[str]]


def said(wheel: Path, settings: Settings) -> Words:
    """What is said of each user, as a night makes words of it: the attributes that the settings declare."""
    (source,) = (one for one in settings.sources if one.kind == "users")
    words = ", ".join(f"{sql_text(f'{name}=')} || ({of_fields})" for name, of_fields in source.attributes.items())
    with zipfile.ZipFile(wheel) as archive, duckdb.connect() as db:
        rows = [row | {"age": int(row["age"])} for row in ml_100k.read(archive, "user")]
        db.register("members", pa.Table.from_pylist(rows))
        return dict(db.sql(f"SELECT user_id, [{words}] FROM members").fetchall())


def described(histories: Histories, user_ids: Strings, words: Words) -> Histories:
    return replace(histories, traits=Features.from_lists(words[user] for user in user_ids.tolist()))


def per_user(
    likes: InteractionLog, words: Words, cut: datetime, evaluation: EvaluationSet, spec: ModelSpec, k: int, seeds: int
) -> F64:
    """Each evaluation user's NDCG, the mean over trainings that differ in their seed alone."""
    runs = []
    for seed in range(seeds):
        known = examples(likes, cut, seed)
        if models.definition(spec.name).user_attributes:
            known = replace(known, histories=described(known.histories, likes.user_ids, words))
        model = trainers.fit(spec.name, known, spec.params)
        runs.append(scorecard(model, evaluation, k).per_user["ndcg"]["all"])
    return np.asarray(np.mean(runs, axis=0))


def told(found: dict[str, list[F64]], warm: list[Bools], cuts: list[datetime], settings: Settings, seeds: int) -> None:
    """The table, and the last line."""
    means = {name: [float(values_T.mean()) for values_T in each] for name, each in found.items()}
    chosen = max(means, key=lambda name: np.mean(means[name][:-LATER]))
    order = sorted(means, key=lambda name: -np.mean(means[name]))
    everybody, warm_U = {name: np.concatenate(each) for name, each in found.items()}, np.concatenate(warm)
    gains = {name: intervals((everybody[chosen] - everybody[name])[:, None], seed=0)[0] for name in order}
    days, k = settings.training.holdout_days, settings.gates.model.k
    table = Table(
        "cut", "users", "new", *order,
        title=f"MovieLens 100K: NDCG@{k} of {days} days from each cut, {seeds} seeds; the last {LATER} choose nothing",
        caption=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    )  # fmt: skip
    for place, (cut, warm_T) in enumerate(zip(cuts, warm, strict=True)):
        scores = (f"{means[name][place]:.4f}" for name in order)
        table.add_row(f"{cut:%Y-%m-%d}", str(len(warm_T)), str((~warm_T).sum()), *scores)
    table.add_section()
    earlier, later, every = (
        {name: round(float(np.mean(each[part])), 4) for name, each in means.items()}
        for part in (slice(-LATER), slice(-LATER, None), slice(None))
    )
    for words, row in ((f"all but the last {LATER} cuts", earlier), (f"the last {LATER}", later), ("all cuts", every)):
        table.add_row(words, "", "", *(f"{row[name]:.4f}" for name in order))
    table.add_section()
    for words, inside_U in (("new users", ~warm_U), ("users with a history", warm_U)):
        table.add_row(words, str(inside_U.sum()), "", *(f"{everybody[name][inside_U].mean():.4f}" for name in order))
    less = ("" if name == chosen else str(gains[name]) for name in order)
    table.add_row(f"{chosen} (chosen) less this one", str(len(warm_U)), "", *less)
    Console(width=150).print(table)
    print(json.dumps({"chosen": chosen, "later": later, "all": every}))


if __name__ == "__main__":
    main()
