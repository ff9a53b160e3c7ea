"""ALS: seconds an epoch (all users, then all items) of ours, of `implicit` and of Spark, on the same likes, in one run.

Synthetic likes with skewed activity and popularity. Ours and `implicit` minimise one objective by as many conjugate
gradient steps from the same start, so that they end at the same value; Spark solves exactly, from a start of its own,
and multiplies regularisation by a row's likes: its is divided by their mean. One process a method, in turn; the
objective is computed by one function for all. Last line: JSON.
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

from models.als import ALSParams
from models.base import F32
from nightloom.samples.population import OWN_CLUSTER, pick, population
from nightloom.samples.world import ACTIVITY_SKEW, CLUSTERS, POPULARITY_SKEW

if TYPE_CHECKING:
    from pyspark.sql import DataFrame  # with the peers: each is imported in its own process

Factors = tuple[list[float], F32, F32]
"""Seconds of each epoch, users, items."""
PULLS = {"confidence": 10.0, "regularisation": 30.0}
SPARK_EPOCHS, SPARK_MEMORY = 3, "8g"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("users", 140_000), ("items", 40_000), ("events", 6_500_000), ("factors", 64), ("epochs", 5), ("rounds", 3),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.method:
        seconds, users_UD, items_ID = METHODS[asked.method](asked)
        np.savez(asked.folder / asked.method, seconds=seconds, users=users_UD, items=items_ID)
    else:
        with tempfile.TemporaryDirectory() as folder:
            asked.folder = Path(folder)
            compare(asked)


def compare(asked: argparse.Namespace) -> None:
    write_likes(asked)
    runs = [{name: run(name, asked) for name in ("ours", "implicit")} for _ in range(asked.rounds)]
    last = {**runs[-1], "spark": run("spark", asked)}
    epochs = {name: [statistics.median(each[name][0]) for each in runs] for name in runs[-1]}
    epochs["spark"] = [statistics.median(last["spark"][0])]
    from models.als_solver import objective

    likes = read_likes(asked.folder)
    reached = {name: objective(likes, users, items, **PULLS) for name, (_, users, items) in last.items()}
    show(asked, likes, epochs, reached)
    ratios = {
        "vs_implicit": statistics.median(b / a for a, b in zip(epochs["ours"], epochs["implicit"], strict=True)),
        "vs_spark": epochs["spark"][0] / statistics.median(epochs["ours"]),
        "objective_gap": abs(reached["ours"] / reached["implicit"] - 1),
    }
    print(json.dumps({name: float(f"{value:.3g}") for name, value in ratios.items()}))


def params_of(asked: argparse.Namespace) -> ALSParams:
    return ALSParams(factors=asked.factors, **PULLS)


def write_likes(asked: argparse.Namespace) -> None:
    """Users x items, as nightloom.samples draws them; a pair's weight grows with the logarithm of its events."""
    rng = np.random.default_rng(0)
    users = population(rng, asked.users, CLUSTERS, 1, ACTIVITY_SKEW, rising=0.0)
    items = population(rng, asked.items, CLUSTERS, 1, POPULARITY_SKEW, rising=0.0)
    nobody = np.zeros(asked.events, np.int64)
    rows = pick(rng, users.weight, nobody, nobody + asked.users)
    own, cluster = rng.random(asked.events) < OWN_CLUSTER, users.cluster[rows]
    first = np.where(own, items.starts[cluster], 0)
    columns = pick(rng, items.weight, first, np.where(own, items.starts[cluster + 1], asked.items))
    counts = csr_array((np.ones(asked.events, np.float32), (rows, columns)), shape=(asked.users, asked.items))
    np.savez(
        asked.folder / "likes", data=np.log2(1 + counts.data), indices=counts.indices.astype(np.int32),
        indptr=counts.indptr.astype(np.int32), shape=counts.shape,
    )  # fmt: skip


def read_likes(folder: Path) -> csr_array:
    kept = np.load(folder / "likes.npz")
    return csr_array((kept["data"], kept["indices"], kept["indptr"]), shape=tuple(kept["shape"]))


def run(method: str, asked: argparse.Namespace) -> Factors:
    """One method in a process of its own: pools of threads of two libraries would wait for each other's cores."""
    given = [f"--{name}={getattr(asked, name)}" for name in ("users", "items", "factors", "epochs", "folder")]
    command = [sys.executable, __file__, f"--method={method}", *given]
    subprocess.run(command, check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})  # as `implicit` asks for
    kept = np.load(asked.folder / f"{method}.npz")
    return kept["seconds"].tolist(), kept["users"], kept["items"]


def start(asked: argparse.Namespace) -> Sequence[F32]:
    rng = np.random.default_rng(1)
    return [rng.normal(0, 0.1, (rows, asked.factors)).astype(np.float32) for rows in (asked.users, asked.items)]


def ours(asked: argparse.Namespace) -> Factors:
    from models.als_solver import sweep

    likes, params = read_likes(asked.folder), params_of(asked)
    liked_by = likes.T.tocsr()
    users_UD, items_ID = start(asked)
    sweep(
        likes[:1], users_UD[:1].copy(), items_ID, steps=params.steps, **PULLS
    )  # numba compiles, or reads what it compiled before
    seconds = []
    for _ in range(asked.epochs):
        began = time.perf_counter()
        sweep(likes, users_UD, items_ID, steps=params.steps, **PULLS)
        sweep(liked_by, items_ID, users_UD, steps=params.steps, **PULLS)
        seconds.append(time.perf_counter() - began)
    return seconds, users_UD, items_ID


def implicit(asked: argparse.Namespace) -> Factors:
    from implicit.cpu.als import AlternatingLeastSquares

    likes, params, seconds = read_likes(asked.folder), params_of(asked), list[float]()
    model = AlternatingLeastSquares(asked.factors, regularization=params.regularisation, iterations=asked.epochs)
    model.cg_steps = params.steps
    model.user_factors, model.item_factors = start(asked)
    confidence = csr_matrix((1 + np.float32(params.confidence) * likes.data, likes.indices, likes.indptr), likes.shape)
    model.fit(confidence, show_progress=False, callback=lambda epoch, took, loss: seconds.append(took))
    return seconds, model.user_factors, model.item_factors


def spark(asked: argparse.Namespace) -> Factors:
    """Seconds of SPARK_EPOCHS less those of a single one, which start-up and warm-up are part of, too."""
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession

    likes, params = read_likes(asked.folder), params_of(asked)
    rows, file = (
        np.repeat(np.arange(asked.users, dtype=np.int32), np.diff(likes.indptr)),
        asked.folder / "likes.parquet",
    )
    pq.write_table(pa.table({"user": rows, "item": likes.indices, "rating": likes.data}), file)
    builder = SparkSession.builder.master("local[*]").config("spark.driver.memory", SPARK_MEMORY)
    session = builder.config("spark.ui.enabled", "false").config("spark.log.level", "ERROR").getOrCreate()
    table = session.read.parquet(str(file)).cache()
    likes_a_row = likes.nnz * (1 / asked.users + 1 / asked.items) / 2
    als = ALS(
        rank=asked.factors, implicitPrefs=True, alpha=params.confidence, regParam=params.regularisation / likes_a_row,
        seed=1, numUserBlocks=os.cpu_count() or 1, numItemBlocks=os.cpu_count() or 1,
    )  # fmt: skip
    seconds = list[float]()
    for epochs in (1, 1, SPARK_EPOCHS):  # the first warms the JVM up
        began = time.perf_counter()
        model = als.setMaxIter(epochs).fit(table)
        seconds.append(time.perf_counter() - began)
    users_UD, items_ID = _matrix(model.userFactors, asked.users), _matrix(model.itemFactors, asked.items)
    return [(seconds[2] - seconds[1]) / (SPARK_EPOCHS - 1)], users_UD, items_ID


def _matrix(factors: "DataFrame", rows: int) -> F32:
    """Spark's (id, features) rows -> a matrix, zeros for an id that has no likes."""
    table = factors.toArrow()
    features = table["features"].combine_chunks()
    matrix = np.zeros((rows, len(features.values) // len(table)), np.float32)
    matrix[table["id"].to_numpy()] = features.values.to_numpy().reshape(len(table), -1)
    return matrix


def show(
    asked: argparse.Namespace, likes: csr_array, epochs: dict[str, list[float]], reached: dict[str, float]
) -> None:
    title = f"{likes.nnz:,} likes of {asked.users:,} users and {asked.items:,} items, {asked.factors} factors"
    table = Table("method", "seconds an epoch", "epochs", "objective", title=title)
    for name, seconds in epochs.items():
        number = SPARK_EPOCHS if name == "spark" else asked.epochs
        table.add_row(name, f"{statistics.median(seconds):.3f}", f"{number}", f"{reached[name]:.9f}")
    Console().print(table)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "implicit", "pyspark"))
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")


def processor() -> str:
    """As Linux names it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


METHODS: dict[str, Callable[[argparse.Namespace], Factors]] = {"ours": ours, "implicit": implicit, "spark": spark}


if __name__ == "__main__":
    main()
