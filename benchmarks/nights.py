"""The models of nightloom.toml on MovieLens 100K: trained on all days before each of several cuts, tested after it.

The evaluation is that of gate 2: the whole catalogue, for every user who liked something new in the `holdout_days`
after the cut, from histories as of the cut. No day is in two holdouts. The best model on the earlier cuts is best;
the last two cuts are the test. With --daily: see daily_nights.py. Last line: JSON.
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
from benchmarks import daily_nights
from models.base import Examples, Histories
from models.features import Features
from nightloom import settings as settings_module
from nightloom.literals import sql_text
from nightloom.samples import ml_100k
from nightloom.samples.command import cache_folder
from nightloom.settings import ModelSpec, Settings
from training import trainers
from training.bootstrap_intervals import bootstrap_intervals
from training.dataset import Holdout, InteractionLog, Texts, log_from_arrow, training_examples
from training.ranking_metrics import F64, Bools
from training.scorecard import EvaluationSet, evaluation_set, scorecard

TEST_CUTS = 2
"""The last cuts, which do not take part in the choice."""
SAMPLE = Path(__file__).parents[1] / "nightloom.toml"
Words = dict[str, list[str]]
"""User id -> words: the attributes that the settings declare."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=SAMPLE, help="file with the [[models]]")
    parser.add_argument("--models", help="names, separated by commas; default: all models that --config declares")
    parser.add_argument("--cuts", type=int, default=14)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each model at each cut")
    parser.add_argument("--daily", action="store_true", help="the last of the models, night by night for two months")
    options = parser.parse_args()
    if options.cuts <= TEST_CUTS:
        parser.error(
            f"--cuts {options.cuts}: the last {TEST_CUTS} are the test, so at least {TEST_CUTS + 1} are needed"
        )
    settings = settings_module.load(options.config)
    days, (signal, *_) = settings.training.holdout_days, settings.signals
    names, declared = options.models.split(",") if options.models else None, [one.name for one in settings.models]
    if unknown := sorted(set(names or ()) - set(declared)):
        parser.error(f"--models: {', '.join(unknown)} not in {options.config}, which declares {', '.join(declared)}")
    specs = [one for one in settings.models if names is None or one.name in names]
    wheel = ml_100k.fetch(cache_folder())
    log, words = read_ratings(wheel, signal.min_value or 0), user_words(wheel, settings)
    last = datetime.fromtimestamp(pc.max(log["at"]).as_py(), UTC)
    end = last.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    if options.daily:
        print_daily(log, end, specs[-1], settings, words)
        return
    cuts = [end - timedelta(days=days * back) for back in range(options.cuts, 0, -1)]
    scores: dict[str, list[F64]] = {spec.name: [] for spec in specs}
    warm: list[Bools] = []
    for cut in cuts:
        evaluation = evaluation_set(log_from_arrow(before(log, cut + timedelta(days=days)).to_batches()), cut)
        later, warm_T = evaluation.holdout, evaluation.holdout.warm_T
        evaluation = replace(
            evaluation, holdout=replace(later, histories=with_words(later.histories, later.user_ids, words))
        )
        warm.append(warm_T)
        print(f"cut {cut:%Y-%m-%d}: {len(warm_T)} users, {(~warm_T).sum()} of them new", flush=True)
        likes = log_from_arrow(before(log, cut).filter(pc.field("weight") > 0).to_batches())
        for spec in specs:
            values_T = ndcg_per_user(likes, words, cut, evaluation, spec, settings.gates.model.k, options.seeds)
            scores[spec.name].append(values_T)
            print(f"cut {cut:%Y-%m-%d}: {spec.name} NDCG {values_T.mean():.4f}", flush=True)
    print_results(scores, warm, cuts, settings, options.seeds)


def print_daily(log: pa.Table, end: datetime, spec: ModelSpec, settings: Settings, words: Words) -> None:
    """Print the table of the last of the models, and the last line."""

    def examples_before(cut: datetime) -> Examples:
        likes = log_from_arrow(before(log, cut).filter(pc.field("weight") > 0).to_batches())
        return examples_of(likes, words, cut, spec, settings.training.seed)

    def with_features(later: Holdout) -> Holdout:
        return replace(later, histories=with_words(later.histories, later.user_ids, words))

    found = daily_nights.run(log, end, spec, settings, examples_before, with_features)
    print(json.dumps({"model": spec.name, **daily_nights.print_results(found, spec, settings)}))


def read_ratings(wheel: Path, min_rating: float) -> pa.Table:
    """All ratings; one of `min_rating` or more is a like (weight 1)."""
    with zipfile.ZipFile(wheel) as archive:
        rows = list(ml_100k.read(archive, "inter"))
    return pa.table({
        "user_id": [row["user_id"] for row in rows],
        "item_id": [row["item_id"] for row in rows],
        "weight": [float(float(row["rating"]) >= min_rating) for row in rows],
        "at": [int(row["timestamp"]) for row in rows],
    })  # fmt: skip


def before(log: pa.Table, moment: datetime) -> pa.Table:
    """The ratings before a moment."""
    return log.filter(pc.field("at") < int(moment.timestamp()))


def user_words(wheel: Path, settings: Settings) -> Words:
    """User id -> words: the attributes that the settings declare, as a night makes words of them."""
    (source,) = (one for one in settings.sources if one.kind == "users")
    words = ", ".join(f"{sql_text(f'{name}=')} || ({of_fields})" for name, of_fields in source.attributes.items())
    with zipfile.ZipFile(wheel) as archive, duckdb.connect() as db:
        rows = [row | {"age": int(row["age"])} for row in ml_100k.read(archive, "user")]
        db.register("members", pa.Table.from_pylist(rows))
        return dict(db.sql(f"SELECT user_id, [{words}] FROM members").fetchall())


def with_words(histories: Histories, user_ids: Texts, words: Words) -> Histories:
    """The histories, with each user's features."""
    return replace(histories, user_features=Features.from_lists(words[user] for user in user_ids.tolist()))


def ndcg_per_user(
    likes: InteractionLog, words: Words, cut: datetime, evaluation: EvaluationSet, spec: ModelSpec, k: int, seeds: int
) -> F64:
    """T: each user's NDCG, the mean over `seeds` trainings that differ only in their seed."""
    runs = []
    for seed in range(seeds):
        model = trainers.fit(spec.name, examples_of(likes, words, cut, spec, seed), spec.params)
        runs.append(scorecard(model, evaluation, k).per_user["ndcg"]["all"])
    return np.asarray(np.mean(runs, axis=0))


def examples_of(likes: InteractionLog, words: Words, cut: datetime, spec: ModelSpec, seed: int) -> Examples:
    """What a model is trained on, with the features of users if it takes them."""
    examples = training_examples(likes, cut, seed)
    if not models.definition(spec.name).user_features:
        return examples
    return replace(examples, histories=with_words(examples.histories, likes.user_ids, words))


def print_results(
    scores: dict[str, list[F64]], warm: list[Bools], cuts: list[datetime], settings: Settings, seeds: int
) -> None:
    """Print the table, and the last line."""
    means = {name: [float(values_T.mean()) for values_T in each] for name, each in scores.items()}
    best = max(means, key=lambda name: np.mean(means[name][:-TEST_CUTS]))
    order = sorted(means, key=lambda name: -np.mean(means[name]))
    all_cuts, warm_U = {name: np.concatenate(each) for name, each in scores.items()}, np.concatenate(warm)
    gains = {name: bootstrap_intervals((all_cuts[best] - all_cuts[name])[:, None], seed=0)[0] for name in order}
    days, k = settings.training.holdout_days, settings.gates.model.k
    table = Table(
        "cut", "users", "new", *order,
        title=f"MovieLens 100K: NDCG@{k} of {days} days from each cut, {seeds} seeds; last {TEST_CUTS}: test",
        caption=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    )  # fmt: skip
    for place, (cut, warm_T) in enumerate(zip(cuts, warm, strict=True)):
        cells = (f"{means[name][place]:.4f}" for name in order)
        table.add_row(f"{cut:%Y-%m-%d}", str(len(warm_T)), str((~warm_T).sum()), *cells)
    table.add_section()
    choice, test, every = (
        {name: round(float(np.mean(each[part])), 4) for name, each in means.items()}
        for part in (slice(-TEST_CUTS), slice(-TEST_CUTS, None), slice(None))
    )
    for label, row in (
        (f"all but the last {TEST_CUTS} cuts", choice),
        (f"the last {TEST_CUTS}", test),
        ("all cuts", every),
    ):
        table.add_row(label, "", "", *(f"{row[name]:.4f}" for name in order))
    table.add_section()
    for label, inside_U in (("new users", ~warm_U), ("users with a history", warm_U)):
        table.add_row(label, str(inside_U.sum()), "", *(f"{all_cuts[name][inside_U].mean():.4f}" for name in order))
    gain_cells = ("" if name == best else str(gains[name]) for name in order)
    table.add_row(f"{best} (chosen) less this one", str(len(warm_U)), "", *gain_cells)
    Console(width=150).print(table)
    print(json.dumps({"chosen": best, "later": test, "all": every}))


if __name__ == "__main__":
    main()
