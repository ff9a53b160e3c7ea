"""A project of its own for the end-to-end tests: nightloom.toml, landing files that arrive day by day, content."""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from nightloom import settings as settings_module
from nightloom.contracts import TABLES, Table
from nightloom.lake import Lake
from nightloom.local.airflow_server import free_port
from nightloom.settings import CONFIG_VARIABLE, Settings

MAIN = "from nightloom.cli import main; main()"
UNSTEADY = {"generated_at", "ingested_at"}
"""Columns that say when a row was written, and so differ when a night runs again."""

SMALL = """
[project]
name = "small"

[[sources]]
name = "clicks"
kind = "events"
path = "landing/events"
format = "json"
fields = { event_id = "string", user_id = "string", item_id = "string", event = "string", value = "double", at = "timestamp" }
columns = { event_id = "event_id", user_id = "user_id", item_id = "item_id", event = "event", value = "value", occurred_at = "at" }

[[sources]]
name = "catalogue"
kind = "items"
path = "landing/items"
format = "json"
fields = { item_id = "string", title = "string", year = "int", genres = "array<string>", cluster = "int", rising = "boolean" }
columns = { item_id = "item_id", title = "title", categories = "genres" }

[[sources]]
name = "members"
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
weight = 1.0

[[signals]]
event = "rating"
valid = [1, 5]

[[models]]
name = "popularity"

[[models]]
name = "als"
params = { factors = 8 }

[training]
holdout_days = 7
every_days = 30
new_rows_share = 5.0

[gates.slate]
min_coverage = 0.9
min_fill = 0.8

[slate]
k = 10
stored = 20
"""  # noqa: E501  # TOML's inline tables stand on one line


@dataclass(frozen=True)
class Project:
    """A folder with a nightloom.toml, and the commands of `nightloom` run in it."""

    root: Path

    @classmethod
    def create(cls, root: Path, toml: str) -> "Project":
        root.mkdir(parents=True, exist_ok=True)
        (root / "nightloom.toml").write_text(toml, encoding="utf8")
        return cls(root)

    @property
    def settings(self) -> Settings:
        return settings_module.load(self.root / "nightloom.toml")

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.place("lake"))

    @property
    def environment(self) -> dict[str, str]:
        checkout = str(Path(__file__).parents[1])
        own = {CONFIG_VARIABLE: str(self.root / "nightloom.toml"), "PYTHONPATH": checkout}
        return {
            name: value for name, value in os.environ.items() if not name.startswith(("NIGHTLOOM_", "AIRFLOW"))
        } | own

    def nightloom(self, *words: str, seconds: int = 900) -> subprocess.CompletedProcess[str]:
        """`nightloom WORD ...` in a process of its own."""
        command = [sys.executable, "-c", MAIN, *words]
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )

    def read(self, *words: str) -> Any:
        """A reading command's JSON."""
        done = self.nightloom(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def content(self) -> dict[str, list[str]]:
        """Every table's rows but for ops: sorted, without the columns that say when a row was written."""
        tables = [table for table in TABLES if table.layer != "ops" and self.lake.exists(table)]
        return {table.full_name: self.rows(table) for table in tables}

    def rows(self, table: Table) -> list[str]:
        """One text per row, sorted."""
        names = [name for name in table.column_names if name not in UNSTEADY]
        rows = self.lake.rows(table, columns=[f'"{name}"' for name in names]).to_pylist()
        return sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)


@dataclass(frozen=True)
class Api:
    """A running `nightloom serve`."""

    port: int

    def get(self, path: str) -> Any:
        """A route's JSON, an error's too."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)


@contextmanager
def serving(project: Project) -> Iterator[Api]:
    """`nightloom serve` for as long as the block lasts."""
    port = free_port(0)
    command = [sys.executable, "-c", MAIN, "serve", "--port", str(port)]
    with (project.root / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=project.root, env=project.environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not listening(port):
            assert process.poll() is None, (project.root / "serve.log").read_text(encoding="utf8")
            assert time.monotonic() < deadline, "nightloom serve did not listen after 60 s"
            time.sleep(0.1)
        yield Api(port)
    finally:
        process.terminate()
        process.wait(30)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def days_arrive(made: Path, landing: Path, last: date) -> list[str]:
    """Copy what a sample holds up to a day into the landing folder, as if it came day by day -> names of new files."""
    new = []
    for file in sorted(made.glob("*/*.jsonl.gz")):
        target = landing / file.parent.name / file.name
        if date.fromisoformat(file.name.split(".")[0]) <= last and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            new.append(f"{file.parent.name}/{file.name}")
    return new


def leave(file: Path, lines: list[str]) -> None:
    """A landing file with these lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt", encoding="utf8") as out:
        out.writelines(line + "\n" for line in lines)


def event(event_id: str, day: date, **changed: Any) -> str:
    """One good event line, but for what is changed."""
    good = {
        "event_id": event_id,
        "user_id": "u1",
        "item_id": "i1",
        "event": "view",
        "value": None,
        "at": f"{day}T12:00:00Z",
    }
    return json.dumps(good | changed)


def tomorrow(day: date) -> date:
    return day + timedelta(days=1)
