"""bronze.events from tables: nothing lost and nothing twice, killed at any moment between a read and its commit."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS
from spark_jobs import bronze
from tests.spark_jobs.small_project import EVENTS_ONLY, D, Row, project
from tests.spark_jobs.stage_process import content, copy_as_killed, finish, lake_files, start
from tests.spark_jobs.table_projects import CREATE, append_delta, database, numbered, with_tables

ROWS, MOMENTS = 4_000, 20
CHANGED = ROWS - 1
"""The last row of the first read; the look-back of the second one reaches it."""
FEED = {"delta.enableChangeDataFeed": "true"}
TIMES = ("ingested_at", "file_modified_at")
"""When a read began; for a row of a database both."""


Source = tuple[str, Callable[[Sequence[Row]], None], Callable[[], None]]
"""Keys of a source, a function that appends rows to its table, and one that changes the row CHANGED."""


@contextmanager
def table_of_a_database(folder: Path) -> Iterator[Source]:
    with database() as shop:
        shop.run(CREATE.format("shop_events"))

        def append(rows: Sequence[Row]) -> None:
            with shop.connection.cursor().copy(b"COPY shop_events FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(list(row.values()))

        def change() -> None:
            shop.run(f"UPDATE shop_events SET value = 4 WHERE n = {CHANGED}")

        keys = f'format = "jdbc"\nurl = "{shop.url}"\ntable = "shop_events"\ncursor_column = "n"\nlook_back = 100'
        yield keys, append, change


@contextmanager
def delta_table(folder: Path, properties: dict[str, str]) -> Iterator[Source]:
    path = folder / "table"

    def change() -> None:
        DeltaTable(path).update({"value": "4.0"}, predicate=f"n = {CHANGED}")

    yield f'format = "delta"\npath = "{path}"', lambda rows: append_delta(path, rows, configuration=properties), change


TABLES: dict[str, Callable[[Path], AbstractContextManager[Source]]] = {
    "database": table_of_a_database,
    "change feed": lambda folder: delta_table(folder, FEED),
    "files": lambda folder: delta_table(folder, {}),
}


def states_between_read_and_commit(root: Path, to: Path) -> list[Path]:
    """Run the stage in a process of its own -> copies of the project, each as SIGKILL leaves it at a moment after the
    note of the read and before the commit of its rows."""
    notes, commits = "_checkpoints/ratings/reads/_delta_log/*.json", "bronze/events/_delta_log/*.json"

    def count(project: Path, files: str) -> int:
        return len([*(project / "data/lake").glob(files)])

    noted, committed, copies = count(root, notes), count(root, commits), list[Path]()
    stage = start(root, "spark_jobs.bronze", D)
    while stage.poll() is None and count(root, commits) == committed:
        if count(root, notes) > noted:
            copies.append(copy_as_killed(root, stage, to / str(len(copies))))
        time.sleep(0.01)
    finish(root, stage)
    return [copy for copy in copies if count(copy, commits) == committed]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TABLES)
def test_a_read_killed_at_20_moments_before_its_commit_ends_in_the_rows_of_an_undisturbed_one(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("NIGHTLOOM_SOURCE_RATINGS_USER", "nightloom")
    with TABLES[kind](tmp_path) as (keys, append, change):
        toml = with_tables(keys, toml=EVENTS_ONLY)
        at = project(tmp_path / "shop", spark, toml)
        append(numbered(*range(ROWS)))
        at.run(bronze.main)
        append(numbered(*range(ROWS, 2 * ROWS)))
        change()
        states = states_between_read_and_commit(at.settings.root, tmp_path / "moments")
        assert len(states) >= MOMENTS
        expected = content(at.settings.root, BRONZE_EVENTS, TIMES)
        for state in {lake_files(root): root for root in states}.values():
            project(state, spark, toml).run(bronze.main)
            assert content(state, BRONZE_EVENTS, TIMES) == expected
    found = Counter((row["n"], row["value"]) for row in (json.loads(json.loads(text)["raw"]) for text in expected))
    assert {*found.values()} == {1}
    assert found.keys() == {(n, 5.0) for n in range(2 * ROWS)} | {(CHANGED, 4.0)}
