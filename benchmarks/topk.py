"""Seconds of nightloom.topk, a plain float32 GEMM of the same size, implicit, faiss, torch, RecTools and Spark ALS.

Three kinds of factors: `trained` (our ALS on synthetic likes, see benchmarks.als); `no_skew`, the same users with item
vectors of length 1, so that no item can be skipped for a small norm; `gaussian`. Each method runs in a process of its
own, one after another. The GEMM is the faster of numpy's and torch's, by blocks of users into one array. Spark's time
is the difference between two numbers of users, scaled to all users. Each of our lists is checked against float64 scores
of all items. `--path` takes an older processor's instructions, for all methods. Last line: JSON with vs_gemm (our
seconds over the GEMM's), and the peers' seconds over ours.
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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_array, csr_matrix

from benchmarks.als import OBJECTIVE, initial_factors, params_of, read_likes, write_likes
from benchmarks.processors import add_path_option, path_environment, processor
from models.base import F32, I32

Work: TypeAlias = Callable[[], object]
Seconds: TypeAlias = tuple[float, float]
"""Wall time, and CPU time of all threads."""
FACTORS, SWEEPS, EVENTS_PER_USER = 64, 8, 65
SPARK_USERS, SPARK_MEMORY = (1_000, 3_000), "8g"
RANKERS = ("RecTools ImplicitRanker", "RecTools TorchRanker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("users", 100_000), ("items", 50_000), ("k", 100), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--methods", nargs="*", default=[*METHODS], choices=METHODS, help="all, if not given")
    add_path_option(parser)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.method:
        print(json.dumps({name: time_median(work, options.rounds) for name, work in METHODS[options.method](options)}))
    else:
        with tempfile.TemporaryDirectory() as folder:
            options.folder = Path(folder)
            compare(options)


def compare(options: argparse.Namespace) -> None:
    """Run all methods, and print the table and the last line."""
    make_factors(options)
    times: dict[str, Seconds] = {}
    for method in options.methods:
        times |= run_method(method, options)
    print_table(options, times)
    print(f"screen: {screen_of(options)}")
    print(json.dumps(ratios({name: clock for name, (clock, _) in times.items()})))


def ratios(clock: dict[str, float]) -> dict[str, dict[str, float]]:
    """Kind of factors -> ratio by name, from wall times by method."""
    gemm = min(clock[name] for name in ("numpy GEMM", "torch GEMM") if name in clock)
    ratio = {kind: {"vs_gemm": clock[f"ours, {kind}"] / gemm} for kind in ("trained", "no_skew", "gaussian")}
    ratio["trained"]["vs_gemm_seen"] = clock["ours, seen"] / gemm
    peers = {
        "implicit": "implicit",
        "faiss_flat": "faiss IndexFlatIP",
        "rectools": RANKERS[0],
        "spark_als": "Spark ALS",
    }
    for key, name in peers.items():
        if name in clock:
            ratio["trained"][f"vs_{key}"] = clock[name] / clock["ours, trained"]
    return {kind: {name: float(f"{value:.3g}") for name, value in each.items()} for kind, each in ratio.items()}


def make_factors(options: argparse.Namespace) -> None:
    """Write the three kinds of factors, and the likes."""
    from models.als_solver import sweep

    options.events, options.factors = options.users * EVENTS_PER_USER, FACTORS
    write_likes(options)
    likes, params = read_likes(options.folder), params_of(options)
    liked_by = likes.T.tocsr()
    users_UD, items_ID = initial_factors(options)
    for _ in range(SWEEPS):
        sweep(likes, users_UD, items_ID, steps=params.steps, **OBJECTIVE)
        sweep(liked_by, items_ID, users_UD, steps=params.steps, **OBJECTIVE)
    rng = np.random.default_rng(2)
    directions_ID = items_ID / np.linalg.norm(items_ID, axis=1, keepdims=True).clip(1e-30)
    gaussian = [rng.standard_normal((rows, FACTORS), np.float32) for rows in likes.shape]
    np.savez(options.folder / "trained", users=users_UD, items=items_ID)
    np.savez(options.folder / "no_skew", users=users_UD, items=directions_ID)
    np.savez(options.folder / "gaussian", users=gaussian[0], items=gaussian[1])


def factors_of(options: argparse.Namespace, kind: str = "trained") -> tuple[F32, F32]:
    """Factors of one kind: (users x D, items x D)."""
    arrays = np.load(options.folder / f"{kind}.npz")
    return arrays["users"], arrays["items"]


def run_method(method: str, options: argparse.Namespace) -> dict[str, Seconds]:
    """Run one method in a process of its own: thread pools of two libraries would compete for the cores."""
    arguments = [f"--{name}={getattr(options, name)}" for name in ("users", "items", "k", "rounds", "folder")]
    command = [sys.executable, "-m", "benchmarks.topk", f"--method={method}", *arguments]
    environment = path_environment(options.path)
    if method == "implicit":
        environment["OPENBLAS_NUM_THREADS"] = "1"  # implicit asks for it
    output = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    times: dict[str, Seconds] = json.loads(output.splitlines()[-1])
    return times


def screen_of(options: argparse.Namespace) -> str:
    """The screen that nightloom.topk takes, with the width of its registers."""
    code = "from nightloom.topk import operands; print(operands.SCREENS[0], 32 * operands.WIDTH, 'bits')"
    command, environment = [sys.executable, "-c", code], path_environment(options.path)
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout.strip()


def time_median(work: Work, rounds: int) -> Seconds:
    """Medians over the rounds; a float that `work` returns is its own measure of seconds."""
    times = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        own_measure = work()
        elapsed = time.perf_counter() - wall, time.process_time() - cpu
        times.append((own_measure, 0.0) if isinstance(own_measure, float) else elapsed)
    walls, cpus = zip(*times, strict=True)
    return statistics.median(walls), statistics.median(cpus)


def blocks(users: int, step: int) -> Iterator[slice]:
    """Slices of `step` users."""
    return (slice(first, min(first + step, users)) for first in range(0, users, step))


def ours(options: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """nightloom.topk on all kinds of factors, with checked lists."""
    from nightloom.topk import topk

    excluded = {"trained": None, "seen": read_likes(options.folder), "no_skew": None, "gaussian": None}
    for name, seen in excluded.items():
        users_UD, items_ID = factors_of(options, "trained" if name == "seen" else name)
        select = partial(topk, users_UD, items_ID, options.k, seen=seen)
        check(users_UD, items_ID, select(), seen)  # and numba compiles, or loads its cache
        yield f"ours, {name}", select


def check(users_UD: F32, items_ID: F32, lists: tuple[I32, F32], seen: csr_array | None) -> None:
    """For every user: scores are the float64 scores rounded, and no unlisted item has a better one."""
    items64_DI = items_ID.T.astype(np.float64)
    for block in blocks(len(users_UD), 1024):
        exact_BI = users_UD[block].astype(np.float64) @ items64_DI
        ids_BK, scores_BK = (each[block] for each in lists)
        if seen is not None:
            rows = np.repeat(np.arange(len(exact_BI)), np.diff(seen.indptr[block.start : block.stop + 1]))
            exact_BI[rows, seen.indices[seen.indptr[block.start] : seen.indptr[block.stop]]] = -np.inf
        exact_BK = np.take_along_axis(exact_BI, ids_BK.astype(np.int64), axis=1)
        np.testing.assert_allclose(scores_BK, exact_BK, rtol=2.0**-23, atol=1e-12)
        np.put_along_axis(exact_BI, ids_BK.astype(np.int64), -np.inf, axis=1)
        worst_B = scores_BK[:, -1].astype(np.float64)
        assert (exact_BI.max(axis=1) <= worst_B + 2.0**-23 * np.abs(worst_B) + 1e-12).all()


def numpy_gemm(options: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """All scores by numpy's matrix product, in blocks."""
    users_UD, items_ID = factors_of(options)
    scores_BI = np.empty((2048, len(items_ID)), np.float32)

    def gemm() -> None:
        for block in blocks(len(users_UD), len(scores_BI)):
            np.matmul(users_UD[block], items_ID.T, out=scores_BI[: block.stop - block.start])

    yield "numpy GEMM", gemm


def torch_gemm(options: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """All scores by torch's matrix product, in blocks, alone and with torch.topk."""
    import torch

    users_UD, items_ID = (torch.from_numpy(each) for each in factors_of(options))
    scores_BI = torch.empty((1024, len(items_ID)))

    def gemm(select: bool = False) -> None:
        for block in blocks(len(users_UD), len(scores_BI)):
            part_BI = torch.mm(users_UD[block], items_ID.T, out=scores_BI[: block.stop - block.start])
            if select:
                part_BI.topk(options.k)

    yield "torch GEMM", gemm
    yield "torch GEMM + topk", partial(gemm, select=True)


def implicit(options: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """implicit's recommend(), with and without liked items."""
    from implicit.cpu.als import AlternatingLeastSquares

    likes = read_likes(options.folder)
    model = AlternatingLeastSquares(FACTORS)
    model.user_factors, model.item_factors = factors_of(options)
    everyone, rows = np.arange(options.users), csr_matrix((likes.data, likes.indices, likes.indptr), likes.shape)
    for name, exclude_seen in (("implicit", False), ("implicit, seen", True)):
        yield name, partial(model.recommend, everyone, rows, N=options.k, filter_already_liked_items=exclude_seen)


def faiss(options: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """faiss's exact inner-product index."""
    from faiss import IndexFlatIP

    users_UD, items_ID = factors_of(options)
    index = IndexFlatIP(FACTORS)
    index.add(items_ID)
    yield "faiss IndexFlatIP", partial(index.search, users_UD, options.k)


def rectools(options: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """RecTools' two rankers on a CPU; its ALS uses the first."""
    from rectools.models.rank import Distance, ImplicitRanker, TorchRanker

    users_UD, items_ID = factors_of(options)
    everyone = np.arange(options.users)
    rankers = ImplicitRanker(Distance.DOT, users_UD, items_ID), TorchRanker(Distance.DOT, "cpu", users_UD, items_ID)
    for name, ranker in zip(RANKERS, rankers, strict=True):
        yield name, partial(ranker.rank, everyone, k=options.k)


def spark(options: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """A model made from our factors: how factors were trained does not change how fast Spark recommends."""
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[*]").config("spark.driver.memory", SPARK_MEMORY)
    session = builder.config("spark.ui.enabled", "false").config("spark.log.level", "ERROR").getOrCreate()
    tables = []
    for rows in factors_of(options):
        pairs = [(number, row.tolist()) for number, row in enumerate(rows)]
        tables.append(session.createDataFrame(pairs, "id int, features array<float>").repartition(2).cache())
    jvm = session._jvm  # its constructor is not part of the Python API
    assert jvm is not None
    scala = jvm.org.apache.spark.ml.recommendation.ALSModel("als", FACTORS, *(table._jdf for table in tables))
    model = ALSModel(scala)
    scala.setUserCol("user").setItemCol("item")

    def seconds(users: int) -> float:
        user_table = session.range(users).selectExpr("cast(id as int) as user")
        start = time.perf_counter()
        model.recommendForUserSubset(user_table, options.k).write.format("noop").mode("overwrite").save()
        return time.perf_counter() - start

    def scaled() -> float:
        few, more = (seconds(users) for users in SPARK_USERS)
        return float((more - few) * options.users / (SPARK_USERS[1] - SPARK_USERS[0]))

    seconds(SPARK_USERS[0])  # warms the JVM up
    yield "Spark ALS", scaled


def print_table(options: argparse.Namespace, times: dict[str, Seconds]) -> None:
    """Print a row per method, and the machine with versions."""
    best = min(clock for name, (clock, _) in times.items() if name.endswith("GEMM"))
    title = f"{options.users:,} users x {options.items:,} items, {FACTORS} factors, lists of {options.k}"
    table = Table("method", "seconds", "of all cores", "of the GEMM", "", title=title)
    for name, (clock, cpu) in times.items():
        bar = "█" * max(1, round(10 * clock / best)) if clock < 8 * best else "█" * 78 + "…"
        table.add_row(name, f"{clock:.2f}", f"{cpu:.2f}" if cpu else "", f"{clock / best:.2f}", bar)
    Console(width=150).print(table)
    names = ("numpy", "numba", "torch", "implicit", "faiss-cpu", "rectools", "pyspark")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")


METHODS: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, Work]]]] = {
    "numpy": numpy_gemm, "ours": ours, "torch": torch_gemm, "implicit": implicit, "faiss": faiss,
    "rectools": rectools, "spark": spark,
}  # fmt: skip


if __name__ == "__main__":
    main()
