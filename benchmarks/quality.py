"""Our models on public files, by the protocols of papers: everything is chosen on validation, and tested once.

Candidates (quality_grid.py) are trained without validation and test data. The best on validation by NDCG is trained
again with the validation data, and measured once on the test. A baseline is chosen and measured the same way. The whole
catalogue is ranked, without the items that the user has seen. Writes a table and a plot; last line: JSON.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quality_baseline import REGULARISATIONS, TRANSITION_WEIGHTS, EaseWithTransitions
from benchmarks.quality_data import PROTOCOLS, Split, Splits
from benchmarks.quality_fit import fit
from benchmarks.quality_grid import GRIDS, Candidate, model_of
from models.base import I32
from nightloom.errors import NightloomError
from training import distributed, ranking_metrics
from training.dataset import Holdout

K = {"given-split": 20, "leave-one-out": 10}
METRICS = {"recall": ranking_metrics.recall, "ndcg": ranking_metrics.ndcg, "mrr": ranking_metrics.mrr}
WIDTH = 140  # characters of the table, which is also written to a file
PACKAGES = ("numpy", "scipy", "numba", "torch", "horovod")

Scores = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A line of the table. Only the floor and the chosen candidate have `test` scores."""

    name: str
    params: dict[str, Any]
    validation: Scores
    test: Scores
    seconds: float
    """Training and ranking, on both splits for a row with a test."""


def mean_metrics(ids_TK: I32, holdout: Holdout) -> Scores:
    """Means over the holdout's users. If each has one target, recall is the hit rate (hr@k)."""
    hits_TK, targets_T, k = (
        ranking_metrics.hits(ids_TK, holdout.targets),
        np.diff(holdout.targets.indptr),
        ids_TK.shape[1],
    )
    scores = {f"{name}@{k}": round(float(metric(hits_TK, targets_T).mean()), 5) for name, metric in METRICS.items()}
    return scores | ({f"hr@{k}": scores[f"recall@{k}"]} if (targets_T == 1).all() else {})


def train_and_measure(candidate: Candidate, part: Split, k: int, ranks: int) -> Scores:
    """Train a candidate on a split's examples, and measure it on the split's holdout."""
    with tempfile.TemporaryDirectory(prefix="nightloom-quality-") as scratch:
        model = fit(model_of(candidate[0]), candidate[1], part.examples, ranks, Path(scratch) / "fit")
        return mean_metrics(ranking_metrics.ranked_lists(model, part.holdout, k), part.holdout)


def baseline_row(protocol: str, splits: Splits, k: int) -> Row:
    """The most liked items (given-split), or EASE with transitions, its two parameters chosen on validation."""
    start = time.monotonic()
    if protocol == "given-split":
        validation, test = (
            train_and_measure(("popularity", {}), part, k, ranks=1) for part in (splits.validation, splits.test)
        )
        return Row("floor: popularity", {}, validation, test, time.monotonic() - start)
    holdout, scores = splits.validation.holdout, dict[tuple[float, float], Scores]()
    for regularisation in REGULARISATIONS:
        model = EaseWithTransitions(splits.validation.examples, regularisation)
        for weight in TRANSITION_WEIGHTS:
            scores[regularisation, weight] = mean_metrics(model.lists(holdout, weight, k), holdout)
    best = max(scores, key=lambda params: scores[params][f"ndcg@{k}"])
    lists = EaseWithTransitions(splits.test.examples, best[0]).lists(splits.test.holdout, best[1], k)
    test, seconds = mean_metrics(lists, splits.test.holdout), time.monotonic() - start
    params = {"regularisation": best[0], "transition_weight": best[1]}
    return Row("floor: EASE + next item", params, scores[best], test, seconds)


def candidate_rows(candidates: list[Candidate], splits: Splits, k: int, ranks: int) -> list[Row]:
    """All candidates measured on validation, best first; the first also on the test."""
    rows = []
    for number, (name, params) in enumerate(candidates, 1):
        print(f"{number} of {len(candidates)}: {name} {params}", flush=True)
        start = time.monotonic()
        scores = train_and_measure((name, params), splits.validation, k, ranks)
        rows.append(Row(name, params, scores, {}, time.monotonic() - start))
        print(f"{name}: validation {scores}, {rows[-1].seconds:.1f} s", flush=True)
    best, *others = sorted(rows, key=lambda row: -row.validation[f"ndcg@{k}"])
    print(f"chosen: {best.name} {best.params}; training it on all data but the test", flush=True)
    start = time.monotonic()
    test = train_and_measure((best.name, best.params), splits.test, k, ranks)
    return [Row(best.name, best.params, best.validation, test, best.seconds + time.monotonic() - start), *others]


def table(rows: list[Row], title: str, caption: str) -> Table:
    """A line per method, with the metrics that papers print."""
    shown = [name for name in rows[0].validation if not name.startswith(("mrr", "hr"))]
    grid = Table("method", "params", title=title, caption=caption)
    for column in (*(f"{part} {name}" for part in ("validation", "test") for name in shown), "seconds"):
        grid.add_column(column, justify="right")
    for row in rows:
        figures = [f"{scores[name]:.4f}" if scores else "" for scores in (row.validation, row.test) for name in shown]
        params = ", ".join(f"{name} {value}" for name, value in row.params.items())
        grid.add_row(row.name, params, *figures, f"{row.seconds:,.0f}")
    return grid


def plot(rows: list[Row], metric: str, title: str, caption: str, file: Path) -> None:
    """A bar per method on validation, a dot for the test."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.4 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))[::-1]
    axes.barh(places, [row.validation[metric] for row in rows], color="#9db4c8", label="validation")
    tested = [(row.test[metric], place) for row, place in zip(rows, places, strict=True) if row.test]
    axes.plot(*zip(*tested, strict=True), "o", color="#b3402a", label="test")
    axes.set_yticks(places, [row.name for row in rows])
    axes.set_xlabel(f"{metric}\n{caption}", fontsize=8)
    axes.set_title(title)
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=150)


def chosen_models(protocol: str, names: str | None) -> list[Candidate]:
    """The candidates of the grid with these names; all by default. Raises NightloomError for an unknown name."""
    grid = GRIDS[protocol]
    known = {name for name, _ in grid} | {model_of(name) for name, _ in grid}
    selected = set(names.split(",")) if names else known
    if selected - known:
        raise NightloomError(
            f"--models: {', '.join(sorted(selected - known))} not in {protocol}; there are {', '.join(sorted(known))}"
        )
    return [candidate for candidate in grid if selected & {candidate[0], model_of(candidate[0])}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a folder (given-split), a file (leave-one-out)")
    parser.add_argument("--models", help="names, separated by commas; default: the whole grid")
    parser.add_argument(
        "--ranks", type=int, default=distributed.default_ranks(), help="for models that train on several"
    )
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the table and the plot")
    options = parser.parse_args()
    start, k = time.monotonic(), K[options.protocol]
    try:
        candidates = chosen_models(options.protocol, options.models)
        splits = PROTOCOLS[options.protocol](options.data)
    except NightloomError as error:
        sys.exit(f"quality: {error}")
    rows = [baseline_row(options.protocol, splits, k), *candidate_rows(candidates, splits, k, options.ranks)]
    seconds = time.monotonic() - start
    holdout = splits.test.holdout
    title = f"{options.data.name}, {options.protocol}: {len(holdout.user_ids):,} users, {len(holdout.item_ids):,} items"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {options.ranks} ranks, Python {platform.python_version()}"
    caption = f"{seconds:,.0f} s in all; {machine}, {versions}"
    console = Console(record=True, width=WIDTH)
    console.print(table(rows, title, caption))
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"quality-{options.protocol}-{options.data.name.split('.')[0]}"
    (options.out / f"{name}.txt").write_text(console.export_text())
    plot(rows, f"ndcg@{k}", title, caption, options.out / f"{name}.png")
    print(f"{options.out / name}.txt, .png")
    print(json.dumps({"chosen": rows[1].name, "test": rows[1].test, "floor": rows[0].test, "seconds": round(seconds)}))


if __name__ == "__main__":
    main()
