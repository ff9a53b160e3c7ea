"""nightloom.topk beside a plain f32 GEMM of the same size, implicit, faiss, torch, RecTools and Spark ALS, in one run.

Three kinds of factors: trained (our ALS on synthetic likes, see benchmarks.als); no_skew, the same users, each item's
vector of length 1, so that none can be passed over for being short; Gaussian ones. One process a method, in turn. The
GEMM is the faster of numpy's and torch's, by blocks of users into one array. Spark's time is that of some users more,
scaled to all. Every list of ours is held against float64 scores of all items. Last line: JSON: vs_gemm, ours over the
GEMM's; of peers, theirs over ours.
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

from benchmarks.als import PULLS, params_of, processor, read_likes, start, write_likes
from models.base import F32, I32

Work: TypeAlias = Callable[[], object]
Seconds: TypeAlias = tuple[float, float]
"""By the clock, and of all threads."""
FACTORS, SWEEPS, EVENTS_PER_USER = 64, 8, 65
SPARK_USERS, SPARK_MEMORY = (1_000, 3_000), "8g"
RANKERS = ("RecTools ImplicitRanker", "RecTools TorchRanker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("users", 100_000), ("items", 50_000), ("k", 100), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--methods", nargs="*", default=[*METHODS], choices=METHODS, help="all, if not given")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.method:
        print(json.dumps({name: timed(work, asked.rounds) for name, work in METHODS[asked.method](asked)}))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asked.folder = Path(folder)
            compare(asked)


def compare(asked: argparse.Namespace) -> None:
    make_factors(asked)
    taken: dict[str, Seconds] = {}
    for method in asked.methods:
        taken |= run(method, asked)
    show(asked, taken)
    print(json.dumps(ratios({name: clock for name, (clock, _) in taken.items()})))


def ratios(clock: dict[str, float]) -> dict[str, dict[str, float]]:
    gemm = min(clock[name] for name in ("numpy GEMM", "torch GEMM") if name in clock)
    found = {kind: {"vs_gemm": clock[f"ours, {kind}"] / gemm} for kind in ("trained", "no_skew", "gaussian")} | {}
    found["trained"]["vs_gemm_seen"] = clock["ours, seen"] / gemm
    peers = {
        "implicit": "implicit",
        "faiss_flat": "faiss IndexFlatIP",
        "rectools": RANKERS[0],
        "spark_als": "Spark ALS",
    }
    for key, name in peers.items():
        if name in clock:
            found["trained"][f"vs_{key}"] = clock[name] / clock["ours, trained"]
    return {kind: {name: float(f"{value:.3g}") for name, value in each.items()} for kind, each in found.items()}


def make_factors(asked: argparse.Namespace) -> None:
    from models.als_solver import sweep

    asked.events, asked.factors = asked.users * EVENTS_PER_USER, FACTORS
    write_likes(asked)
    likes, params = read_likes(asked.folder), params_of(asked)
    liked_by = likes.T.tocsr()
    users_UD, items_ID = start(asked)
    for _ in range(SWEEPS):
        sweep(likes, users_UD, items_ID, steps=params.steps, **PULLS)
        sweep(liked_by, items_ID, users_UD, steps=params.steps, **PULLS)
    rng = np.random.default_rng(2)
    directions_ID = items_ID / np.linalg.norm(items_ID, axis=1, keepdims=True).clip(1e-30)
    gaussian = [rng.standard_normal((rows, FACTORS), np.float32) for rows in likes.shape]
    np.savez(asked.folder / "trained", users=users_UD, items=items_ID)
    np.savez(asked.folder / "no_skew", users=users_UD, items=directions_ID)
    np.savez(asked.folder / "gaussian", users=gaussian[0], items=gaussian[1])


def factors_of(asked: argparse.Namespace, kind: str = "trained") -> tuple[F32, F32]:
    kept = np.load(asked.folder / f"{kind}.npz")
    return kept["users"], kept["items"]


def run(method: str, asked: argparse.Namespace) -> dict[str, Seconds]:
    """One method in a process of its own: pools of threads of two libraries would wait for each other's cores."""
    given = [f"--{name}={getattr(asked, name)}" for name in ("users", "items", "k", "rounds", "folder")]
    command = [sys.executable, "-m", "benchmarks.topk", f"--method={method}", *given]
    chosen = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}  # it chooses best
    if method == "implicit":
        chosen["OPENBLAS_NUM_THREADS"] = "1"  # as it asks for
    told = subprocess.run(command, check=True, env=chosen, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Seconds] = json.loads(told.splitlines()[-1])
    return found


def timed(work: Work, rounds: int) -> Seconds:
    """Medians; work that returns a number has measured itself."""
    taken = []
    for _ in range(rounds):
        clock, cores = time.perf_counter(), time.process_time()
        itself = work()
        all_of_it = time.perf_counter() - clock, time.process_time() - cores
        taken.append((itself, 0.0) if isinstance(itself, float) else all_of_it)
    clocks, cpus = zip(*taken, strict=True)
    return statistics.median(clocks), statistics.median(cpus)


def blocks(users: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, users)) for first in range(0, users, step))


def ours(asked: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    from nightloom.topk import topk

    given = {"trained": None, "seen": read_likes(asked.folder), "no_skew": None, "gaussian": None}
    for name, seen in given.items():
        users_UD, items_ID = factors_of(asked, "trained" if name == "seen" else name)
        select = partial(topk, users_UD, items_ID, asked.k, seen=seen)
        check(users_UD, items_ID, select(), seen)  # and numba compiles, or reads what it compiled before
        yield f"ours, {name}", select


def check(users_UD: F32, items_ID: F32, lists: tuple[I32, F32], seen: csr_array | None) -> None:
    """Scores are those of float64, rounded; no item that is left out has a better one; for every user."""
    items64_DI = items_ID.T.astype(np.float64)
    for block in blocks(len(users_UD), 1024):
        right_BI = users_UD[block].astype(np.float64) @ items64_DI
        ids_BK, scores_BK = (each[block] for each in lists)
        if seen is not None:
            rows = np.repeat(np.arange(len(right_BI)), np.diff(seen.indptr[block.start : block.stop + 1]))
            right_BI[rows, seen.indices[seen.indptr[block.start] : seen.indptr[block.stop]]] = -np.inf
        right_BK = np.take_along_axis(right_BI, ids_BK.astype(np.int64), axis=1)
        np.testing.assert_allclose(scores_BK, right_BK, rtol=2.0**-23, atol=1e-12)
        np.put_along_axis(right_BI, ids_BK.astype(np.int64), -np.inf, axis=1)
        worst_B = scores_BK[:, -1].astype(np.float64)
        assert (right_BI.max(axis=1) <= worst_B + 2.0**-23 * np.abs(worst_B) + 1e-12).all()


def numpy_gemm(asked: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    users_UD, items_ID = factors_of(asked)
    scores_BI = np.empty((2048, len(items_ID)), np.float32)

    def gemm() -> None:
        for block in blocks(len(users_UD), len(scores_BI)):
            np.matmul(users_UD[block], items_ID.T, out=scores_BI[: block.stop - block.start])

    yield "numpy GEMM", gemm


def torch_gemm(asked: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    import torch

    users_UD, items_ID = (torch.from_numpy(each) for each in factors_of(asked))
    scores_BI = torch.empty((1024, len(items_ID)))

    def gemm(select: bool = False) -> None:
        for block in blocks(len(users_UD), len(scores_BI)):
            part_BI = torch.mm(users_UD[block], items_ID.T, out=scores_BI[: block.stop - block.start])
            if select:
                part_BI.topk(asked.k)

    yield "torch GEMM", gemm
    yield "torch GEMM + topk", partial(gemm, select=True)


def implicit(asked: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    from implicit.cpu.als import AlternatingLeastSquares

    likes = read_likes(asked.folder)
    model = AlternatingLeastSquares(FACTORS)
    model.user_factors, model.item_factors = factors_of(asked)
    everyone, rows = np.arange(asked.users), csr_matrix((likes.data, likes.indices, likes.indptr), likes.shape)
    for name, without in (("implicit", False), ("implicit, seen", True)):
        yield name, partial(model.recommend, everyone, rows, N=asked.k, filter_already_liked_items=without)


def faiss(asked: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    from faiss import IndexFlatIP

    users_UD, items_ID = factors_of(asked)
    index = IndexFlatIP(FACTORS)
    index.add(items_ID)
    yield "faiss IndexFlatIP", partial(index.search, users_UD, asked.k)


def rectools(asked: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """Its models' two ways from vectors to lists on a CPU; the first is what its ALS takes."""
    from rectools.models.rank import Distance, ImplicitRanker, TorchRanker

    users_UD, items_ID = factors_of(asked)
    everyone = np.arange(asked.users)
    rankers = ImplicitRanker(Distance.DOT, users_UD, items_ID), TorchRanker(Distance.DOT, "cpu", users_UD, items_ID)
    for name, ranker in zip(RANKERS, rankers, strict=True):
        yield name, partial(ranker.rank, everyone, k=asked.k)


def spark(asked: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """The model is made from our factors: how it was trained does not matter to how fast it recommends."""
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[*]").config("spark.driver.memory", SPARK_MEMORY)
    session = builder.config("spark.ui.enabled", "false").config("spark.log.level", "ERROR").getOrCreate()
    tables = []
    for rows in factors_of(asked):
        pairs = [(number, row.tolist()) for number, row in enumerate(rows)]
        tables.append(session.createDataFrame(pairs, "id int, features array<float>").repartition(2).cache())
    jvm = session._jvm  # its constructor is not part of the Python API
    assert jvm is not None
    scala = jvm.org.apache.spark.ml.recommendation.ALSModel("als", FACTORS, *(table._jdf for table in tables))
    model = ALSModel(scala)
    scala.setUserCol("user").setItemCol("item")

    def seconds(users: int) -> float:
        some = session.range(users).selectExpr("cast(id as int) as user")
        began = time.perf_counter()
        model.recommendForUserSubset(some, asked.k).write.format("noop").mode("overwrite").save()
        return time.perf_counter() - began

    def scaled() -> float:
        few, more = (seconds(users) for users in SPARK_USERS)
        return float((more - few) * asked.users / (SPARK_USERS[1] - SPARK_USERS[0]))

    seconds(SPARK_USERS[0])  # warms the JVM up
    yield "Spark ALS", scaled


def show(asked: argparse.Namespace, taken: dict[str, Seconds]) -> None:
    best = min(clock for name, (clock, _) in taken.items() if name.endswith("GEMM"))
    title = f"{asked.users:,} users x {asked.items:,} items, {FACTORS} factors, lists of {asked.k}"
    table = Table("method", "seconds", "of all cores", "of the GEMM", "", title=title)
    for name, (clock, cpu) in taken.items():
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
