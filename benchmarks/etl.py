"""The lakehouse against a plain DuckDB script that does the same work; and a night with 1 % new events against all.

Synthetic events, 1 % of them dirty. The first night takes 107 days, with its stages as in production: one warm Spark
server, a process per stage, in parallel where the DAG runs them in parallel. Then come three nights with one more day
each, about 1 % of the events; their median counts. etl_plain.sql takes the same 107 days. Last line: JSON.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS
from nightloom.lake import Lake
from nightloom.local.memory import peak_memory
from nightloom.samples import synthetic
from nightloom.samples.landing import Landing
from nightloom.samples.simulation import SampleSpec
from nightloom.settings import CONFIG_VARIABLE, Settings, load

DAYS, NIGHTS, START, DIRT = 107, 3, date(2024, 1, 1), 0.01
EVENTS_PER_USER, EVENTS_PER_ITEM = 100, 500
PLAIN_MEMORY = "8GB"
STEPS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "bronze": (("bronze",),),
    "silver": (("silver_items",), ("silver_users",), ("silver_interactions",)),
    "gold": (("gold_histories",), ("gold_item_days", "gold_item_stats", "gold_popular")),
}
"""Stages of each layer: those of an inner tuple run in sequence, the tuples in parallel, as in the DAG."""
TOML = """
[project]
name = "bench"

[[sources]]
name = "events"
kind = "events"
path = "landing/events"
format = "json"
fields = { event_id = "string", user_id = "string", item_id = "string", event = "string", value = "double", at = "timestamp" }
columns = { event_id = "event_id", user_id = "user_id", item_id = "item_id", event = "event", value = "value", occurred_at = "at" }

[[sources]]
name = "items"
kind = "items"
path = "landing/items"
format = "json"
fields = { item_id = "string", title = "string", year = "int", genres = "array<string>", cluster = "int", rising = "boolean" }
columns = { item_id = "item_id", title = "title", categories = "genres" }

[[sources]]
name = "users"
kind = "users"
path = "landing/users"
format = "json"
fields = { user_id = "string", age = "int", gender = "string", occupation = "string", zip = "string", cluster = "int" }
columns = { user_id = "user_id" }

[[signals]]
event = "view"
weight = 0.2

[[signals]]
event = "cart"
weight = 0.6

[[signals]]
event = "purchase"

[[signals]]
event = "rating"
valid = [1, 5]

[[models]]
name = "popularity"
"""  # noqa: E501  # TOML's inline tables are one line each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path, help="folder to work in, left there; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run((arguments.keep or Path(scratch)).absolute(), arguments.events)


def run(folder: Path, events: int) -> None:
    """Measure the nights and the plain script, and print the table and the last line."""
    settings = project(folder)
    write_events(folder, events)
    with peak_memory(settings) as peak, warm_spark(settings):
        first_night = {layer: run_layer(layer, day(0)) for layer in STEPS}
        lines = count_rows(settings)
        nights = []
        for number in range(1, NIGHTS + 1):
            deliver(folder, day(number))
            nights.append({layer: run_layer(layer, day(number)) for layer in STEPS})
        after = count_rows(settings)
    plain, plain_rows = run_plain(folder)
    check_equal(lines, plain_rows)
    print_table(first_night, nights, plain, lines, after)
    ratios = {
        "vs_plain": sum(first_night.values()) / plain,
        "incremental_share": statistics.median(map(silver_and_gold, nights)) / silver_and_gold(first_night),
        "peak_gib": peak.gib,
    }
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


def project(folder: Path) -> Settings:
    """Write nightloom.toml, and select it for all stages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nightloom.toml").write_text(TOML, encoding="utf8")
    os.environ[CONFIG_VARIABLE] = str(folder / "nightloom.toml")
    return load()


def silver_and_gold(night: dict[str, float]) -> float:
    """Seconds of a night's silver and gold layers."""
    return night["silver"] + night["gold"]


def day(number: int) -> date:
    """Date of the first night (0), or of a night with one more day (1 to NIGHTS)."""
    return START + timedelta(days=DAYS - 1 + number)


def write_events(folder: Path, events: int) -> None:
    """Write `events` events for the first night, and hold back the files of the later days."""
    all_events = events + events * NIGHTS // 100
    users, items = max(10, events // EVENTS_PER_USER), max(10, events // EVENTS_PER_ITEM)
    synthetic.write(SampleSpec(users, items, DAYS + NIGHTS, 7, all_events, START, DIRT), Landing(folder / "landing"))
    for number in range(1, NIGHTS + 1):
        hold_back(folder, day(number))


def hold_back(folder: Path, day: date) -> None:
    """Move a day's files out of the landing folder."""
    for file in (folder / "landing").glob(f"*/{day}.jsonl.gz"):
        target = folder / "held" / file.parent.name
        target.mkdir(parents=True, exist_ok=True)
        file.rename(target / file.name)


def deliver(folder: Path, day: date) -> None:
    """Move a day's files into the landing folder."""
    for file in (folder / "held").glob(f"*/{day}.jsonl.gz"):
        file.rename(folder / "landing" / file.parent.name / file.name)


@contextmanager
def warm_spark(settings: Settings) -> Iterator[None]:
    """A running Spark server for the stages."""
    session = [sys.executable, "-m", "spark_jobs.session"]
    subprocess.run([*session, "start"], check=True)
    try:
        yield
    finally:
        subprocess.run([*session, "stop"], check=True)


def run_layer(layer: str, day: date) -> float:
    """Run a layer's stages -> seconds from the start of the first interpreter to the end of the last stage."""

    def run_chain(stages: tuple[str, ...]) -> None:
        for stage in stages:
            subprocess.run([sys.executable, "-m", f"spark_jobs.{stage}", "--date", str(day)], check=True)

    start = time.monotonic()
    with ThreadPoolExecutor() as pool:
        list(pool.map(run_chain, STEPS[layer]))
    return time.monotonic() - start


def count_rows(settings: Settings) -> dict[str, int]:
    """Rows of the compared tables, by name."""
    lake = Lake(settings.place("lake"))
    return {table.full_name: lake.open(table).count() for table in (BRONZE_EVENTS, QUARANTINE_ROWS, INTERACTIONS)}


def run_plain(folder: Path) -> tuple[float, dict[str, int]]:
    """Run the plain script over the first night's days, in a process of its own -> its seconds and rows."""
    out = folder / "plain"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for number in range(1, NIGHTS + 1):
        hold_back(folder, day(number))
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", PLAIN, str(folder), str(out), PLAIN_MEMORY], check=True)
    duration = time.monotonic() - start
    return duration, {
        name: pq.read_metadata(out / f"{file}.parquet").num_rows
        for name, file in (
            (BRONZE_EVENTS.full_name, "bronze"),
            (QUARANTINE_ROWS.full_name, "quarantine"),
            (INTERACTIONS.full_name, "interactions"),
        )
    }


PLAIN = f"""
import sys, duckdb, os
folder, out, memory = sys.argv[1:]
db = duckdb.connect()
db.execute(f"SET memory_limit = '{{memory}}'; SET threads = {{os.cpu_count()}}; SET temp_directory = '{{out}}/spill'")
db.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false; SET enable_progress_bar = false")
sql = open({str(Path(__file__).with_name("etl_plain.sql"))!r}).read()
db.execute(sql.format(landing=f"{{folder}}/landing", out=out))
"""


def check_equal(ours: dict[str, int], plain: dict[str, int]) -> None:
    """Exit unless both have the same rows: otherwise they did not do the same work."""
    if ours != plain:
        sys.exit(f"etl: the lakehouse has {ours}, the plain script {plain}")


def print_table(
    first_night: dict[str, float],
    nights: list[dict[str, float]],
    plain: float,
    lines: dict[str, int],
    after: dict[str, int],
) -> None:
    """Print seconds and rows per second of each layer, and the versions."""
    events = lines[BRONZE_EVENTS.full_name]
    added = (after[BRONZE_EVENTS.full_name] - events) / NIGHTS
    title = f"{events:,} lines; then {NIGHTS} nights of {added:,.0f} more, {added / events:.2%}"
    table = Table("stages of", "seconds", "rows/s", *(f"night {n}: seconds" for n in range(1, NIGHTS + 1)), title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for layer in STEPS:
        later = (f"{night[layer]:.1f}" for night in nights)
        table.add_row(layer, f"{first_night[layer]:.1f}", f"{events / first_night[layer]:,.0f}", *later)
    total = sum(first_night.values())
    table.add_row("all", f"{total:.1f}", f"{events / total:,.0f}", *(f"{sum(night.values()):.1f}" for night in nights))
    table.add_row("plain DuckDB", f"{plain:.1f}", f"{events / plain:,.0f}")
    Console().print(table)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pyspark", "delta-spark", "duckdb"))
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {versions}; {after}")


if __name__ == "__main__":
    main()
