"""Our models on public files, by the protocol that papers use for them: everything chosen on validation, one test.

Candidates (quality_grid.py) are trained on what is left without validation and test; the best on validation by NDCG is
trained anew on all that is not test, and asked once. A trivial method stands beside it, chosen the same way. The whole
catalogue is ranked, less what the user has had. Writes a table and a plot; last line: JSON.
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

from benchmarks.quality_data import PROTOCOLS, Round, Rounds
from benchmarks.quality_fit import fitted
from benchmarks.quality_floor import PULLS, SHARES, TogetherAndNext
from benchmarks.quality_grid import GRIDS, Candidate, model_of
from models.base import I32
from nightloom.errors import NightloomError
from training import distributed, ranking_metrics
from training.dataset import Holdout

K = {"given-split": 20, "leave-one-out": 10}
METRICS = {"recall": ranking_metrics.recall, "ndcg": ranking_metrics.ndcg, "mrr": ranking_metrics.mrr}
WIDTH = 140  # of the table, characters: it is a file too
PACKAGES = ("numpy", "scipy", "numba", "torch", "horovod")

Scores = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A line of the table: `test` is empty but for the floor and the chosen one."""

    name: str
    params: dict[str, Any]
    validation: Scores
    test: Scores
    seconds: float
    """Training and ranking, of both rounds where there is a test."""


def measured(ids_TK: I32, judges: Holdout) -> Scores:
    """Means over the evaluation users; where each has one target, recall is the hit rate."""
    hits_TK, targets_T, k = (
        ranking_metrics.hits(ids_TK, judges.targets),
        np.diff(judges.targets.indptr),
        ids_TK.shape[1],
    )
    scores = {f"{name}@{k}": round(float(metric(hits_TK, targets_T).mean()), 5) for name, metric in METRICS.items()}
    return scores | ({f"hr@{k}": scores[f"recall@{k}"]} if (targets_T == 1).all() else {})


def ours(candidate: Candidate, part: Round, k: int, ranks: int) -> Scores:
    """Train on one round and measure on its judges."""
    with tempfile.TemporaryDirectory(prefix="nightloom-quality-") as scratch:
        model = fitted(model_of(candidate[0]), candidate[1], part.examples, ranks, Path(scratch) / "fit")
        return measured(ranking_metrics.ranked_lists(model, part.judges, k), part.judges)


def floor(protocol: str, rounds: Rounds, k: int) -> Row:
    """The most liked items; for sequences EASE and the next item."""
    started = time.monotonic()
    if protocol == "given-split":
        validation, test = (ours(("popularity", {}), part, k, ranks=1) for part in (rounds.validation, rounds.test))
        return Row("floor: popularity", {}, validation, test, time.monotonic() - started)
    judges, tried = rounds.validation.judges, dict[tuple[float, float], Scores]()
    for pull in PULLS:
        method = TogetherAndNext(rounds.validation.examples, pull)
        tried |= {(pull, share): measured(method.lists(judges, share, k), judges) for share in SHARES}
    pull, share = max(tried, key=lambda params: tried[params][f"ndcg@{k}"])
    lists = TogetherAndNext(rounds.test.examples, pull).lists(rounds.test.judges, share, k)
    test, took = measured(lists, rounds.test.judges), time.monotonic() - started
    return Row("floor: EASE + next item", {"pull": pull, "share": share}, tried[pull, share], test, took)


def compete(candidates: list[Candidate], rounds: Rounds, k: int, ranks: int) -> list[Row]:
    """All candidates on validation, best first; the first one then on the test."""
    rows = []
    for number, (name, params) in enumerate(candidates, 1):
        print(f"{number} of {len(candidates)}: {name} {params}", flush=True)
        started = time.monotonic()
        scores = ours((name, params), rounds.validation, k, ranks)
        rows.append(Row(name, params, scores, {}, time.monotonic() - started))
        print(f"{name}: validation {scores}, {rows[-1].seconds:.1f} s", flush=True)
    best, *others = sorted(rows, key=lambda row: -row.validation[f"ndcg@{k}"])
    print(f"chosen: {best.name} {best.params}; training it on all that is not test", flush=True)
    started = time.monotonic()
    test = ours((best.name, best.params), rounds.test, k, ranks)
    return [Row(best.name, best.params, best.validation, test, best.seconds + time.monotonic() - started), *others]


def table(rows: list[Row], title: str, caption: str) -> Table:
    """A line per method; of the metrics those that the papers print."""
    shown = [name for name in rows[0].validation if not name.startswith(("mrr", "hr"))]
    made = Table("method", "params", title=title, caption=caption)
    for column in (*(f"{part} {name}" for part in ("validation", "test") for name in shown), "seconds"):
        made.add_column(column, justify="right")
    for row in rows:
        figures = [f"{scores[name]:.4f}" if scores else "" for scores in (row.validation, row.test) for name in shown]
        params = ", ".join(f"{name} {value}" for name, value in row.params.items())
        made.add_row(row.name, params, *figures, f"{row.seconds:,.0f}")
    return made


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
    """The grid, or what of it is called so. Raises NightloomError."""
    grid = GRIDS[protocol]
    there = {name for name, _ in grid} | {model_of(name) for name, _ in grid}
    wanted = set(names.split(",")) if names else there
    if wanted - there:
        raise NightloomError(
            f"--models: {', '.join(sorted(wanted - there))} not in {protocol}; there are {', '.join(sorted(there))}"
        )
    return [candidate for candidate in grid if wanted & {candidate[0], model_of(candidate[0])}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a folder (given-split), a file (leave-one-out)")
    parser.add_argument("--models", help="names, comma between; without it all of the grid")
    parser.add_argument("--ranks", type=int, default=distributed.default_ranks(), help="for models that train on many")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the table and the plot")
    given = parser.parse_args()
    started, k = time.monotonic(), K[given.protocol]
    try:
        candidates = chosen_models(given.protocol, given.models)
        rounds = PROTOCOLS[given.protocol](given.data)
    except NightloomError as error:
        sys.exit(f"quality: {error}")
    rows = [floor(given.protocol, rounds, k), *compete(candidates, rounds, k, given.ranks)]
    seconds = time.monotonic() - started
    judges = rounds.test.judges
    title = f"{given.data.name}, {given.protocol}: {len(judges.user_ids):,} users, {len(judges.item_ids):,} items"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {given.ranks} ranks, Python {platform.python_version()}"
    caption = f"{seconds:,.0f} s in all; {machine}, {versions}"
    console = Console(record=True, width=WIDTH)
    console.print(table(rows, title, caption))
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"quality-{given.protocol}-{given.data.name.split('.')[0]}"
    (given.out / f"{name}.txt").write_text(console.export_text())
    plot(rows, f"ndcg@{k}", title, caption, given.out / f"{name}.png")
    print(f"{given.out / name}.txt, .png")
    print(json.dumps({"chosen": rows[1].name, "test": rows[1].test, "floor": rows[0].test, "seconds": round(seconds)}))


if __name__ == "__main__":
    main()
