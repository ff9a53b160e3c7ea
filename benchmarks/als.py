"""ALS: seconds per epoch (all users, then all items) of our solver, `implicit` and Spark, on the same synthetic likes.

Activity and popularity are skewed. Our solver and `implicit` minimise the same objective by the same number of
conjugate gradient steps from the same start, so they end at the same value. Spark solves exactly, from a start of its
own. It multiplies the regularisation by a row's likes, so its parameter is divided by their mean. Each method runs in a
process of its own, one after another; one function computes the objective of all. `--path` takes an older processor's
instructions. Last line: JSON.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_array, csr_matrix

from benchmarks.processors import add_path_option, path_environment, processor
from models.als import ALSParams
from models.base import F32
from nightloom.samples.population import OWN_CLUSTER_SHARE, population, weighted_choice
from nightloom.samples.simulation import ACTIVITY_SKEW, CLUSTERS, POPULARITY_SKEW

if TYPE_CHECKING:
    from pyspark.sql import DataFrame  # a peer; each is imported in a process of its own

Factors = tuple[list[float], F32, F32]
"""Seconds of each epoch, users, items."""
OBJECTIVE = {"confidence": 10.0, "regularisation": 30.0}
SPARK_EPOCHS, SPARK_MEMORY = 3, "8g"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("users", 140_000), ("items", 40_000), ("events", 6_500_000), ("factors", 64), ("epochs", 5), ("rounds", 3),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    add_path_option(parser)
    parser.add_argument("--no-spark", action="store_true", help="only ours and implicit")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.method:
        seconds, users_UD, items_ID = METHODS[options.method](options)
        np.savez(options.folder / options.method, seconds=seconds, users=users_UD, items=items_ID)
    else:
        with tempfile.TemporaryDirectory() as folder:
            options.folder = Path(folder)
            compare(options)


def compare(options: argparse.Namespace) -> None:
    """Run all methods, and print the table and the last line."""
    write_likes(options)
    runs = [{name: run_method(name, options) for name in ("ours", "implicit")} for _ in range(options.rounds)]
    last = runs[-1] if options.no_spark else runs[-1] | {"spark": run_method("spark", options)}
    epochs = {name: [statistics.median(each[name][0]) for each in runs] for name in runs[-1]}
    epochs |= {name: [statistics.median(last[name][0])] for name in last if name == "spark"}
    from models.als_solver import objective

    likes = read_likes(options.folder)
    objectives = {name: objective(likes, users, items, **OBJECTIVE) for name, (_, users, items) in last.items()}
    print_table(options, likes, epochs, objectives)
    ratios = {
        "vs_implicit": statistics.median(b / a for a, b in zip(epochs["ours"], epochs["implicit"], strict=True)),
        "objective_gap": abs(objectives["ours"] / objectives["implicit"] - 1),
    }
    if "spark" in epochs:
        ratios["vs_spark"] = epochs["spark"][0] / statistics.median(epochs["ours"])
    print(json.dumps({name: float(f"{value:.3g}") for name, value in ratios.items()}))


def params_of(options: argparse.Namespace) -> ALSParams:
    """Parameters of our ALS with the shared objective."""
    return ALSParams(factors=options.factors, **OBJECTIVE)


def write_likes(options: argparse.Namespace) -> None:
    """Write likes.npz: users x items as nightloom.samples draws them; a pair's weight is log2(1 + its events)."""
    rng = np.random.default_rng(0)
    users = population(rng, options.users, CLUSTERS, 1, ACTIVITY_SKEW, rising=0.0)
    items = population(rng, options.items, CLUSTERS, 1, POPULARITY_SKEW, rising=0.0)
    zeros = np.zeros(options.events, np.int64)
    rows = weighted_choice(rng, users.weight, zeros, zeros + options.users)
    own, cluster = rng.random(options.events) < OWN_CLUSTER_SHARE, users.cluster[rows]
    first = np.where(own, items.starts[cluster], 0)
    columns = weighted_choice(rng, items.weight, first, np.where(own, items.starts[cluster + 1], options.items))
    counts = csr_array((np.ones(options.events, np.float32), (rows, columns)), shape=(options.users, options.items))
    np.savez(
        options.folder / "likes", data=np.log2(1 + counts.data), indices=counts.indices.astype(np.int32),
        indptr=counts.indptr.astype(np.int32), shape=counts.shape,
    )  # fmt: skip


def read_likes(folder: Path) -> csr_array:
    """The likes of write_likes(), users x items."""
    arrays = np.load(folder / "likes.npz")
    return csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"]))


def run_method(method: str, options: argparse.Namespace) -> Factors:
    """Run one method in a process of its own: thread pools of two libraries would compete for the cores."""
    arguments = [f"--{name}={getattr(options, name)}" for name in ("users", "items", "factors", "epochs", "folder")]
    command = [sys.executable, "-m", "benchmarks.als", f"--method={method}", *arguments]
    environment = path_environment(options.path) | {"OPENBLAS_NUM_THREADS": "1"}  # `implicit` asks for it
    subprocess.run(command, check=True, env=environment)
    arrays = np.load(options.folder / f"{method}.npz")
    return arrays["seconds"].tolist(), arrays["users"], arrays["items"]


def initial_factors(options: argparse.Namespace) -> Sequence[F32]:
    """Start of our solver and of `implicit`: (users x factors, items x factors)."""
    rng = np.random.default_rng(1)
    return [rng.normal(0, 0.1, (rows, options.factors)).astype(np.float32) for rows in (options.users, options.items)]


def ours(options: argparse.Namespace) -> Factors:
    """nightloom: seconds per epoch, and the factors."""
    from models.als_solver import sweep

    likes, params = read_likes(options.folder), params_of(options)
    liked_by = likes.T.tocsr()
    users_UD, items_ID = initial_factors(options)
    first_user_UD = users_UD[:1].copy()
    sweep(likes[:1], first_user_UD, items_ID, steps=params.steps, **OBJECTIVE)  # numba compiles, or loads its cache
    seconds = []
    for _ in range(options.epochs):
        start = time.perf_counter()
        sweep(likes, users_UD, items_ID, steps=params.steps, **OBJECTIVE)
        sweep(liked_by, items_ID, users_UD, steps=params.steps, **OBJECTIVE)
        seconds.append(time.perf_counter() - start)
    return seconds, users_UD, items_ID


def implicit(options: argparse.Namespace) -> Factors:
    """implicit: seconds per epoch, and the factors."""
    from implicit.cpu.als import AlternatingLeastSquares

    likes, params, seconds = read_likes(options.folder), params_of(options), list[float]()
    model = AlternatingLeastSquares(options.factors, regularization=params.regularisation, iterations=options.epochs)
    model.cg_steps = params.steps
    model.user_factors, model.item_factors = initial_factors(options)
    confidence = csr_matrix((1 + np.float32(params.confidence) * likes.data, likes.indices, likes.indptr), likes.shape)
    model.fit(confidence, show_progress=False, callback=lambda epoch, duration, loss: seconds.append(duration))
    return seconds, model.user_factors, model.item_factors


def spark(options: argparse.Namespace) -> Factors:
    """Seconds of SPARK_EPOCHS epochs less those of one epoch: start-up and warm-up cancel out."""
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession

    likes, params = read_likes(options.folder), params_of(options)
    rows = np.repeat(np.arange(options.users, dtype=np.int32), np.diff(likes.indptr))
    file = options.folder / "likes.parquet"
    pq.write_table(pa.table({"user": rows, "item": likes.indices, "rating": likes.data}), file)
    builder = SparkSession.builder.master("local[*]").config("spark.driver.memory", SPARK_MEMORY)
    session = builder.config("spark.ui.enabled", "false").config("spark.log.level", "ERROR").getOrCreate()
    table = session.read.parquet(str(file)).cache()
    likes_per_row = likes.nnz * (1 / options.users + 1 / options.items) / 2
    als = ALS(
        rank=options.factors, implicitPrefs=True, alpha=params.confidence,
        regParam=params.regularisation / likes_per_row,
        seed=1, numUserBlocks=os.cpu_count() or 1, numItemBlocks=os.cpu_count() or 1,
    )  # fmt: skip
    seconds = list[float]()
    for epochs in (1, 1, SPARK_EPOCHS):  # the first warms the JVM up
        start = time.perf_counter()
        model = als.setMaxIter(epochs).fit(table)
        seconds.append(time.perf_counter() - start)
    users_UD, items_ID = _matrix(model.userFactors, options.users), _matrix(model.itemFactors, options.items)
    return [(seconds[2] - seconds[1]) / (SPARK_EPOCHS - 1)], users_UD, items_ID


def _matrix(factors: "DataFrame", rows: int) -> F32:
    """Spark's (id, features) rows -> a matrix; an id without likes has a row of zeros."""
    table = factors.toArrow()
    features = table["features"].combine_chunks()
    matrix = np.zeros((rows, len(features.values) // len(table)), np.float32)
    matrix[table["id"].to_numpy()] = features.values.to_numpy().reshape(len(table), -1)
    return matrix


def print_table(
    options: argparse.Namespace, likes: csr_array, epochs: dict[str, list[float]], objectives: dict[str, float]
) -> None:
    """Print a row per method, and the machine with versions."""
    title = f"{likes.nnz:,} likes of {options.users:,} users and {options.items:,} items, {options.factors} factors"
    table = Table("method", "seconds per epoch", "epochs", "objective", title=title)
    for name, seconds in epochs.items():
        number = SPARK_EPOCHS if name == "spark" else options.epochs
        table.add_row(name, f"{statistics.median(seconds):.3f}", f"{number}", f"{objectives[name]:.9f}")
    Console().print(table)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "implicit", "pyspark"))
    path = f"{options.path} instructions, " if options.path else ""
    print(f"{processor()}, {path}{os.cpu_count()} cores, Python {platform.python_version()}, {versions}")


METHODS: dict[str, Callable[[argparse.Namespace], Factors]] = {"ours": ours, "implicit": implicit, "spark": spark}


if __name__ == "__main__":
    main()
