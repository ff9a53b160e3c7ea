"""Seconds and memory of every stage of a night: of a first night over all events, then of a night with 1 % new ones.

Synthetic events of 100 days: users and items are in clusters, and popular items are liked more. The second night has
one more day: 1 % of the events, by 1 % of the users, a tenth of them new, and descriptions of 1 % new items. Stages run
one after another, a process each, beside the night's Spark server and its warm interpreter. `gib` is the most that all
processes of the project took at once while the stage ran (proportional set size), sampled. The lake is kept with
--keep. Last line: JSON.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks.etl import warm_spark
from benchmarks.processors import processor
from nightloom.errors import ExitCode
from nightloom.local.memory import peak_memory
from nightloom.night import stages
from nightloom.settings import CONFIG_VARIABLE, Settings, load

START, DAYS, NEW_SHARE, CLUSTERS = date(2025, 1, 1), 100, 0.01, 40
OF_TRAINING = (stages.TRAIN.name, stages.MODEL_GATE.name)
"""Stages of a training: they are not compared, for the second night has none."""
SAMPLE_SECONDS = 0.5
TOML = """
[project]
name = "scale"

[[sources]]
name = "events"
kind = "events"
path = "landing/events"
format = "json"
fields = { event_id = "string", user_id = "string", item_id = "string", event = "string", at = "timestamp" }
columns = { event_id = "event_id", user_id = "user_id", item_id = "item_id", event = "event", occurred_at = "at" }

[[sources]]
name = "items"
kind = "items"
path = "landing/items"
format = "json"
fields = { item_id = "string", title = "string", maker = "string" }
columns = { item_id = "item_id", title = "title", categories = "array(maker)" }
attributes = { maker = "maker" }

[[sources]]
name = "users"
kind = "users"
path = "landing/users"
format = "json"
fields = { user_id = "string", market = "string" }
columns = { user_id = "user_id" }
attributes = { market = "market" }

[[signals]]
event = "purchase"

[[models]]
name = "als"
params = { factors = 64, sweeps = 2 }

[gates.slate]
min_catalogue = 0.0

[slate]
k = 10
stored = 30
"""


@dataclass(frozen=True)
class Size:
    """How much there is before the second night."""

    events: int
    users: int
    items: int


class Cost(NamedTuple):
    """What a stage took."""

    seconds: float
    gib: float


Night = Mapping[str, Cost]
BUDGETS = {stage.name: stage.gib for stage in stages.NIGHT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("events", 10_000_000), ("users", 1_000_000), ("items", 200_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--stages", nargs="*", default=[stage.name for stage in stages.NIGHT], help="run only these")
    parser.add_argument("--keep", type=Path, help="folder to work in, left there; default: a temporary one")
    options = parser.parse_args()
    size = Size(options.events, options.users, options.items)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nightloom.toml").write_text(TOML, encoding="utf8")
        os.environ[CONFIG_VARIABLE] = str(folder / "nightloom.toml")
        settings = load()
        write_first_days(folder, size)
        full = run_night(settings, START + timedelta(days=DAYS - 1), options.stages)
        write_last_day(folder, size)
        second = run_night(settings, START + timedelta(days=DAYS), options.stages)
    print_table(size, full, second)
    nights = {"full": full, "one_pct": second}
    figures = {name: {stage: rounded(cost) for stage, cost in night.items()} for name, night in nights.items()}
    peak = max(cost.gib for night in nights.values() for cost in night.values())
    over = over_budget(nights.values())
    print("\n".join(over), file=sys.stderr)
    print(json.dumps({**figures, "share": round(share(full, second), 4), "peak_gib": round(peak, 3)}))
    sys.exit(bool(over))


def write_first_days(folder: Path, size: Size) -> None:
    """Landing files of all days but the last: a file of events a day, all items and users on the first."""
    with duckdb.connect() as db:
        write(db, folder, "items", START, items_sql(0, size.items, size.items))
        write(db, folder, "users", START, users_sql(0, size.users))
        for day in range(DAYS):
            first, last = (size.events * each // DAYS for each in (day, day + 1))
            write(db, folder, "events", START + timedelta(days=day), events_sql(size, first, last, "hash(id, 'user')"))


def write_last_day(folder: Path, size: Size) -> None:
    """Landing files of the last day: new events, and new users and items."""
    day, users = START + timedelta(days=DAYS), max(1, round(NEW_SHARE * size.users))
    new_users, new_items = max(1, users // 10), max(1, round(NEW_SHARE * size.items))
    # 1 % of the users, the last of whom are new; the others are spread over all.
    known = f"id % {users} * {size.users // users}"
    chosen = f"CASE WHEN id % 10 = 0 THEN {size.users} + id // 10 % {new_users} ELSE {known} END"
    with duckdb.connect() as db:
        write(db, folder, "items", day, items_sql(size.items, size.items + new_items, size.items))
        write(db, folder, "users", day, users_sql(size.users, size.users + new_users))
        last = size.events + max(1, round(NEW_SHARE * size.events))
        write(db, folder, "events", day, events_sql(size, size.events, last, chosen, all_users=size.users + new_users))


def write(db: duckdb.DuckDBPyConnection, folder: Path, kind: str, day: date, sql: str) -> None:
    """Write a query's rows as one gzipped file of JSON lines, under its name only when it is whole."""
    place = folder / "landing" / kind
    place.mkdir(parents=True, exist_ok=True)
    unfinished = place / f".{day}"
    at = f"TIMESTAMP '{day}'"
    db.execute(f"COPY ({sql.replace('$day', at)}) TO '{unfinished}' (FORMAT json, COMPRESSION gzip)")
    unfinished.rename(place / f"{day}.jsonl.gz")


def events_sql(size: Size, first: int, last: int, user: str, all_users: int = 0) -> str:
    """Events of a day: four in five are of the user's cluster, and popular items of a cluster are liked more."""
    of_cluster = size.items // CLUSTERS
    cluster = f"CASE WHEN hash(id, 'own') % 5 > 0 THEN user % {CLUSTERS} ELSE hash(id, 'other') % {CLUSTERS} END"
    place = f"({of_cluster} * pow((hash(id, 'item') % 1000000) / 1e6, 2))::BIGINT % {of_cluster}"
    return f"""SELECT 'e' || id AS event_id, 'user-' || user AS user_id,
        'item-' || (({cluster}) * {of_cluster} + {place}) AS item_id, 'purchase' AS event,
        strftime($day + to_seconds((hash(id, 'at') % 86400)::BIGINT), '%Y-%m-%dT%H:%M:%SZ') AS at
        FROM (SELECT id, ({user}) % {all_users or size.users} AS user FROM range({first}, {last}) each(id))"""


def items_sql(first: int, last: int, items: int) -> str:
    """Descriptions of items."""
    of_cluster = max(1, items // CLUSTERS)
    return f"""SELECT 'item-' || id AS item_id, 'Item ' || id AS title, 'maker-' || id // {of_cluster} AS maker
        FROM range({first}, {last}) each(id)"""


def users_sql(first: int, last: int) -> str:
    """Descriptions of users."""
    return f"SELECT 'user-' || id AS user_id, 'market-' || id % 5 AS market FROM range({first}, {last}) each(id)"


def run_night(settings: Settings, day: date, names: Sequence[str]) -> Night:
    """Run a night's stages one after another -> what each took. A stage with nothing to do is left out."""
    costs: dict[str, Cost] = {}
    with warm_spark(settings):
        for name in names:
            if name == stages.MODEL_GATE.name and stages.TRAIN.name not in costs:
                continue  # nothing was trained: in Airflow it is skipped
            with peak_memory(settings, SAMPLE_SECONDS) as peak:
                start = time.monotonic()
                argv = ["--when", "first"] if name == stages.TRAIN.name else []
                command = [sys.executable, "-m", "nightloom.stage", name, "--date", str(day), *argv]
                code = subprocess.run(command, check=False).returncode
                seconds = time.monotonic() - start
            if code not in (0, ExitCode.SKIPPED):
                sys.exit(f"scale: {name} of {day} ended with exit code {code}; its own message is above")
            if code == 0:
                costs[name] = Cost(seconds, peak.gib)
                print(f"{day} {name}: {seconds:.1f} s, {peak.gib:.2f} GiB", flush=True)
    return costs


def share(full: Night, second: Night) -> float:
    """Seconds of the second night as a share of the first's, without training."""
    first, later = (
        sum(seconds for name, (seconds, _) in night.items() if name not in OF_TRAINING) for night in (full, second)
    )
    return later / first


def over_budget(nights: Iterable[Night]) -> list[str]:
    """A line for each stage that took more memory than the list of stages allows it."""
    return [
        f"{name} took {gib:.1f} GiB; its budget is {BUDGETS[name]:g} (nightloom/night/stages.py)"
        for night in nights
        for name, (_, gib) in night.items()
        if gib > BUDGETS[name]
    ]


def rounded(cost: Cost) -> dict[str, float]:
    return {"s": round(cost.seconds, 2), "gib": round(cost.gib, 3)}


def print_table(size: Size, full: Night, second: Night) -> None:
    """Print a row per stage, and the machine."""
    title = f"{size.events:,} events, {size.users:,} users, {size.items:,} items; then a night with 1 % new"
    table = Table("stage", "seconds", "GiB", "1 %: seconds", "GiB", "share", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, cost in full.items():
        later = second.get(name)
        cells = (f"{later.seconds:.1f}", f"{later.gib:.2f}", f"{later.seconds / cost.seconds:.3f}") if later else ()
        table.add_row(name, f"{cost.seconds:.1f}", f"{cost.gib:.2f}", *cells)
    Console(width=100).print(table)
    print(f"without training: {share(full, second):.4f} of the first night's seconds")
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
