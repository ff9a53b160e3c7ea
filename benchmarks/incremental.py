"""Cost of an incremental night of scoring, by the share of changed users, relative to a night that scores all users.

Synthetic likes of many users, and the stages as the night runs them: histories, ALS, lists of all users. Then come
days on which some users like something new, in one warm Spark session. Each of these nights is scored twice, for the
changed users and for all, and both must give the same lists. Seconds are the wall time of the scoring stage.
`--new-items` describes so many new items before each night, which some users like. `--rules` sets five slate rules, and
users and items have the attributes that they name. Last line: JSON, cost by share of changed users, relative to a night
of all users; with `--rules` the largest of these as `share`.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from rich.console import Console
from rich.table import Table

from benchmarks.likes import LIKES_PER_USER, SOURCE, write_likes
from benchmarks.processors import processor
from models import registry
from nightloom import settings as settings_module
from nightloom.contracts import INTERACTIONS, ITEMS, RECOMMENDATIONS, USERS
from nightloom.lake import Lake, arrow_schema, now
from nightloom.lake.recommendations import nightly_lists
from nightloom.local.memory import peak_memory
from nightloom.night import stages
from nightloom.places import folder_of
from spark_jobs import gold_histories, gold_item_days, gold_item_stats, gold_recommendations
from spark_jobs.context import SparkNight
from training import registration

FIRST = date(2025, 11, 28)
"""Last day of the first night's likes."""
CONFIG = f"""
{SOURCE}
[project]
name = "bench"
[[models]]
name = "als"
params = {{ factors = 64, sweeps = 2 }}
"""
ATTRIBUTES = """
[[sources]]
name = "{kind}"
kind = "{kind}"
path = "landing"
format = "json"
fields = {{ id = "string", {fields} }}
columns = {{ {id} = "id" }}
attributes = {{ {attributes} }}
"""


def _source(kind: str, id: str, *attributes: str) -> str:
    fields, same = (", ".join(f'{name} = "{as_}"' for name, as_ in pairs) for pairs in (
        [(name, "string") for name in attributes], [(name, name) for name in attributes]
    ))  # fmt: skip
    return ATTRIBUTES.format(kind=kind, id=id, fields=fields, attributes=same)


RULES = f"""
{_source("items", "item_id", "maker", "markets", "kind")}
{_source("users", "user_id", "market")}
[[slate.filters]]
name = "sold_here"
item = "markets"
user = "market"

[[slate.boosts]]
name = "own"
when = "maker = 'maker-1'"
add = 0.2

[[slate.caps]]
name = "few_of_a_maker"
by = "maker"
at_most = 3

[[slate.floors]]
name = "films"
when = "kind = 'kind-1'"
at_least = 2

[slate.diversity]
relevance = 0.8
by = ["kind"]
"""
MARKETS = ("DE", "AT", "CH", "FR", "IT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("users", 1_000_000), ("items", 50_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shares", type=float, nargs="*", help="of users who change in a night")
    parser.add_argument("--new-items", type=float, default=0.0, help="share of the items, new before each night")
    parser.add_argument("--rules", action="store_true", help="with five slate rules")
    options = parser.parse_args()
    if options.shares is None:
        options.shares = [0.01] if options.rules else [0.01, 0.05]
    with tempfile.TemporaryDirectory() as root:
        config = CONFIG + RULES if options.rules else CONFIG
        (Path(root) / "nightloom.toml").write_text(config)
        settings = settings_module.load(Path(root) / "nightloom.toml")
        lake = prepare(settings, options.users, options.items)
        prepare_rules(settings, FIRST, options.users)
        with peak_memory(settings) as peak:
            first = score(settings, FIRST, full=True)
        print(f"everybody: {first:.1f} s, at most {peak.gib:.1f} GiB in all processes", flush=True)
        costs = []
        for number, share in enumerate(options.shares, 1):
            night = FIRST + timedelta(days=number)
            known = options.items + round((number - 1) * options.new_items * options.items)
            every = options.items + round(number * options.new_items * options.items)
            add_items(lake, night, range(known, every))
            add_likes(lake, night, round(share * options.users), options.users, every)
            run_body(settings, night, gold_histories.main)
            prepare_rules(settings, night)
            changed = score(settings, night)
            lists = list_digests(lake, night)
            start = now()
            all_users = score(settings, night, full=True)
            check_equal(lake, lists, night, start)
            costs.append((share, changed, all_users))
            print(f"{share:.1%} of users: {changed:.1f} s, all users {all_users:.1f} s; equal lists", flush=True)
    print_table(options, first, peak.gib, costs)
    shares = {f"share_{share * 100:g}pct": float(f"{one / all_:.3g}") for share, one, all_ in costs}
    print(json.dumps({"share": max(shares.values())} if options.rules else shares))


def prepare(settings: settings_module.Settings, users: int, items: int) -> Lake:
    """Write likes and items, run gold.histories, train and promote a champion."""
    lake = write_likes(folder_of(settings.place("lake")), users * LIKES_PER_USER, items)
    add_items(lake, FIRST, range(items))
    print(f"gold.histories: {run_body(settings, FIRST, gold_histories.main):.1f} s", flush=True)
    start = time.perf_counter()
    # In a process of its own, as in a night: its memory does not count as scoring's.
    argv = ["--date", str(FIRST), "--config", str(settings.file)]
    subprocess.run([sys.executable, "-m", stages.TRAIN.name, *argv], check=True)
    registration.set_alias(settings, registry.CHAMPION, "1")
    print(f"training: {time.perf_counter() - start:.1f} s", flush=True)
    return lake


def add_items(lake: Lake, night: date, numbers: range) -> None:
    """Describe items; one in five is sold in one market only."""
    card = {"categories": [], "available": True, "updated_at": datetime(2025, 1, 1, tzinfo=UTC), "night": night}
    rows = []
    for number in numbers:
        name, market = f"item-{number}", MARKETS[number // 5 % len(MARKETS)] if number % 5 == 0 else ""
        attributes = [("maker", f"maker-{number % 97}"), ("markets", market), ("kind", f"kind-{number % 7}")]
        rows.append({"item_id": name, "title": name, "row_id": name, "attributes": attributes} | card)
    if rows:
        lake.append(ITEMS, rows)


def prepare_rules(settings: settings_module.Settings, night: date, users: int = 0) -> None:
    """What slate rules need: users with a market on the first night, and the night's gold.item_stats."""
    if not settings.slate.rules:
        return
    lake, schema = Lake(settings.place("lake")), arrow_schema(USERS)
    if users:
        lake.create(USERS)
        ids = pa.array(np.char.add("user-", np.arange(users).astype(str)))
        markets = pa.array(np.array(MARKETS)[np.arange(users) % len(MARKETS)])
        ends = pa.array(np.arange(users + 1), pa.int32())
        columns = {
            "user_id": ids,
            "attributes": pa.MapArray.from_arrays(ends, pa.repeat("market", users), markets),
            "updated_at": pa.repeat(pa.scalar(datetime(2025, 1, 1, tzinfo=UTC), pa.timestamp("us", "UTC")), users),
            "row_id": ids,
            "night": pa.repeat(pa.scalar(night), users),
        }
        rows = [columns.get(field.name, pa.nulls(users, field.type)).cast(field.type) for field in schema]
        write_deltalake(lake.path(USERS), pa.table(rows, schema=schema), mode="append")
    for stage in (gold_item_days, gold_item_stats):
        run_body(settings, night, stage.main)


def add_likes(lake: Lake, day: date, users: int, all_users: int, items: int) -> None:
    """`users` of all users like one more item on a day."""
    rng, schema = np.random.default_rng(day.toordinal()), arrow_schema(INTERACTIONS)
    names = rng.choice(all_users, users, replace=False).astype(str)
    ids = pa.array(np.char.add(f"{day}-", names))
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    columns = {
        "event_id": ids,
        "user_id": pa.array(np.char.add("user-", names)),
        "item_id": pa.array(np.char.add("item-", rng.integers(0, items, users).astype(str))),
        "event": pa.repeat("like", users),
        "value": pa.nulls(users, pa.float64()),
        "weight": pa.repeat(1.0, users),
        "occurred_at": pa.repeat(pa.scalar(noon, pa.timestamp("us", "UTC")), users),
        "rescued": pa.nulls(users, schema.field("rescued").type),
        "row_id": ids,
        "night": pa.repeat(pa.scalar(day), users),
    }
    write_deltalake(lake.path(INTERACTIONS), pa.table(columns, schema=schema), mode="append")


def run_body(settings: settings_module.Settings, night: date, body: Any, **arguments: Any) -> float:
    """Run a stage's body in this process and its Spark session -> seconds."""
    run = SparkNight(date=night, settings=settings, run_id=f"bench-{time.time_ns()}", stage=body.__module__)
    vars(run.arguments).update(arguments)
    start = time.perf_counter()
    body(run)
    return time.perf_counter() - start


def score(settings: settings_module.Settings, night: date, *, full: bool = False) -> float:
    """Seconds of the scoring stage, for changed users or (`full`) for all."""
    return run_body(settings, night, gold_recommendations.main, full=full)


def list_digests(lake: Lake, night: date) -> pa.Table:
    """user_id and an md5 of items and scores for each of the night's lists, sorted by user."""
    lists = nightly_lists(lake, night)
    sql = f"SELECT user_id, md5(array_to_string(items, ' ') || array_to_string(scores, ' ')) AS list FROM ({lists})"
    return lake.query(f"{sql} ORDER BY user_id", ("t", lake.open(RECOMMENDATIONS)))


def check_equal(lake: Lake, before: pa.Table, night: date, start: datetime) -> None:
    """Assert that all users were scored again since `start`, with the lists of `before`."""
    select = f"SELECT min(generated_at) AS first FROM ({nightly_lists(lake, night)})"
    assert lake.query(select, ("t", lake.open(RECOMMENDATIONS)))["first"][0].as_py() >= start, (
        "not everybody was scored"
    )
    assert before.equals(list_digests(lake, night)), "an unchanged user has another list than in a night of all users"


def print_table(options: argparse.Namespace, first: float, gib: float, costs: list[tuple[float, float, float]]) -> None:
    """Print a row per share of changed users, and the machine with versions."""
    size = f"{options.users:,} users, {options.users * LIKES_PER_USER:,} likes, {options.items:,} items"
    title = f"{size}; first night {first:.1f} s, at most {gib:.1f} GiB in all processes"
    table = Table("users changed", "seconds", "everybody", "share of the cost", title=title)
    for share, one, all_ in costs:
        table.add_row(f"{share:.1%}", f"{one:.1f}", f"{all_:.1f}", f"{one / all_:.3f}")
    Console(width=120).print(table)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pyspark", "deltalake", "numba"))
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")


if __name__ == "__main__":
    main()
