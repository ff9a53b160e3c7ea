"""Refits of the sample's sequence model on MovieLens 100K, against trainings from scratch on the same likes.

A refit goes on from the model of the cut before, for a share of its epochs; cuts are `training.holdout_days` apart. The
evaluation is that of nights.py: NDCG of the days after the cut. The last line is JSON.
"""

import argparse
import json
import os
import platform
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from benchmarks.nights import SAMPLE, before, examples_of, read_ratings
from benchmarks.processors import processor
from models.base import Model, no_report
from models.sequence import Sequence
from nightloom import settings as settings_module
from nightloom.samples import ml_100k
from nightloom.samples.command import cache_folder
from nightloom.settings import Settings
from training import trainers
from training.bootstrap_intervals import bootstrap_intervals
from training.dataset import InteractionLog, log_from_arrow
from training.ranking_metrics import F64
from training.scorecard import EvaluationSet, evaluation_set, scorecard
from training.trainers import sequence

SCRATCH, EARLIER = "from scratch", "not trained again"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", type=float, nargs="+", default=[1 / 4, 1 / 3, 1 / 2])
    options = parser.parse_args()
    settings = settings_module.load(SAMPLE)
    days, (signal, *_) = timedelta(days=settings.training.holdout_days), settings.signals
    log = read_ratings(ml_100k.fetch(cache_folder()), signal.min_value or 0)
    last = datetime.fromtimestamp(pc.max(log["at"]).as_py(), UTC)
    end = last.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    ndcg, seconds = dict[str, list[F64]](), dict[str, list[float]]()
    for seed in range(options.seeds):
        earlier: Model | None = None
        for cut in (end - days * back for back in range(options.cuts + 1, 0, -1)):
            likes = log_from_arrow(before(log, cut).filter(pc.field("weight") > 0).to_batches())
            later = evaluation_set(log_from_arrow(before(log, cut + days).to_batches()), cut)
            earlier = compare(earlier, likes, cut, later, settings, seed, options.shares, ndcg, seconds)
            figures = {name: round(float(values[-1].mean()), 4) for name, values in ndcg.items()}
            print(f"seed {seed}, cut {cut:%Y-%m-%d}: {figures}", flush=True)
    print_results(ndcg, seconds, settings, options.cuts, options.seeds)


def compare(
    earlier: Model | None, likes: InteractionLog, cut: datetime, later: EvaluationSet, settings: Settings, seed: int,
    shares: list[float], ndcg: dict[str, list[F64]], seconds: dict[str, list[float]],
) -> Model:  # fmt: skip
    """Add each way's NDCG per user and processor seconds at a cut; returns the model that is trained from scratch."""
    (spec,) = (one for one in settings.models if one.name == Sequence.name)
    examples = examples_of(likes, {}, cut, spec, seed)

    def add(name: str, model: Model, began: float) -> None:
        if earlier is not None:
            seconds.setdefault(name, []).append(time.process_time() - began)
            values_T = scorecard(model, later, settings.gates.model.k).per_user["ndcg"]["all"]
            ndcg.setdefault(name, []).append(values_T)

    began = time.process_time()
    scratch = trainers.fit(spec.name, examples, spec.params)
    add(SCRATCH, scratch, began)
    if earlier is not None:
        add(EARLIER, earlier, time.process_time())
        assert isinstance(earlier, Sequence)
        for share in shares:
            began = time.process_time()
            add(f"refit, {share:.2g} of the epochs", sequence.refit(earlier, examples, no_report, share), began)
    return scratch


def print_results(
    ndcg: dict[str, list[F64]], seconds: dict[str, list[float]], settings: Settings, cuts: int, seeds: int
) -> None:
    """Print the table, and the last line."""
    k, values = settings.gates.model.k, {name: np.concatenate(each) for name, each in ndcg.items()}
    table = Table(
        "sequence", f"NDCG@{k}", "against from scratch, paired by user", "processor s",
        title=f"MovieLens 100K, {cuts} cuts, {seeds} seeds, {len(values[SCRATCH]):,} users in all",
        caption=f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    )  # fmt: skip
    for name, values_U in values.items():
        gain = bootstrap_intervals((values_U - values[SCRATCH])[:, None], seed=0)[0]
        table.add_row(name, f"{values_U.mean():.4f}", str(gain), f"{np.mean(seconds[name]):.1f}")
    Console(width=120).print(table)
    print(json.dumps({name: round(float(values_U.mean()), 4) for name, values_U in values.items()}))


if __name__ == "__main__":
    main()
