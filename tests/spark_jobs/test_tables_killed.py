"""bronze.events from tables: nothing lost and nothing twice, whenever the stage is killed by SIGKILL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from deltalake import DeltaTable

from nightloom.contracts import BRONZE_EVENTS
from nightloom.lake import Lake
from tests.spark_jobs.small_project import EVENTS_ONLY, D, Row
from tests.spark_jobs.stage_process import content, kill_until_done, run_undisturbed
from tests.spark_jobs.table_projects import CREATE, append_delta, database, numbered, with_tables

BRONZE = "spark_jobs.bronze"
ROWS = 4_000
FEED = {"delta.enableChangeDataFeed": "true"}
Add = Callable[[Sequence[Row]], None]


def new(folder: Path, keys: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "nightloom.toml").write_text(with_tables(keys, toml=EVENTS_ONLY))
    return folder


def rounds(tmp_path: Path, keys: str, add: Add, times: int, kills: int, seed: int) -> int:
    """Add rows and kill the stage, several times over; compare with an undisturbed project after each -> kills."""
    twin, root = new(tmp_path / "twin", keys), new(tmp_path / "killed", keys)
    killed = 0
    for round in range(times):
        add(numbered(*range(round * ROWS, (round + 1) * ROWS)))
        life = run_undisturbed(twin, BRONZE, D)
        killed += kill_until_done(root, BRONZE, D, kills, seed + round, life)
        without = ("ingested_at", "file_modified_at")  # of a database's row: when its read began
        assert content(root, BRONZE_EVENTS, without) == content(twin, BRONZE_EVENTS, without), f"round {round}"
        ids = Lake(root / "data/lake").rows(BRONZE_EVENTS, columns=["row_id"])["row_id"].to_pylist()
        assert max(Counter(ids).values()) == 1
        assert len(ids) >= ROWS * (round + 1)
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["database", "change feed", "files"])
def test_a_read_killed_at_20_random_moments_ends_in_the_rows_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with ExitStack() as stack:
        if kind == "database":
            monkeypatch.setenv("NIGHTLOOM_SOURCE_RATINGS_USER", "nightloom")
            shop = stack.enter_context(database())
            shop.run(CREATE.format("shop_events"))
            keys = f'format = "jdbc"\nurl = "{shop.url}"\ntable = "shop_events"\ncursor_column = "n"\nlook_back = 100'

            def add(rows: Sequence[Row]) -> None:
                with shop.connection.cursor().copy(b"COPY shop_events FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(list(row.values()))
                shop.run("UPDATE shop_events SET value = 4 WHERE n % 1000 = 999")
        else:
            path = tmp_path / "table"
            keys = f'format = "delta"\npath = "{path}"'

            def add(rows: Sequence[Row]) -> None:
                append_delta(path, rows, configuration=FEED if kind == "change feed" else None)
                DeltaTable(path).update({"value": "4.0"}, predicate="n % 1000 = 999")

        assert rounds(tmp_path, keys, add, times=5, kills=5, seed=4) >= 20
