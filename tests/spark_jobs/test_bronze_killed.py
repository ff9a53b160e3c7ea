"""bronze.*: nothing lost and nothing twice, whenever the stage is killed, and however many run at once."""

import gzip
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from nightloom.contracts import BRONZE_EVENTS, BRONZE_ITEMS, STAGES
from nightloom.lake import Lake
from spark_jobs import server
from spark_jobs.configuration import LAPTOP, configuration
from tests.spark_jobs.small_project import NEXT, TOML, D, event
from tests.spark_jobs.stage_process import content, finish, kill, kill_until_done, log_file, run_undisturbed, start

BRONZE = "spark_jobs.bronze"


def new(folder: Path) -> Path:
    """A project in which nothing has landed."""
    for landing in ("events", "items", "users"):
        (folder / "landing" / landing).mkdir(parents=True)
    (folder / "nightloom.toml").write_text(TOML)
    return folder


PADDING = " " * 2_600
"""So much after each record makes a round larger than what the stage reads in its own process: Spark reads it."""


def land(root: Path, round: int, rows: int = 4_000, padding: str = "") -> None:
    """Four new files of events, one that grows from round to round, and one of items."""
    draw = random.Random(round)
    for part in range(4):
        lines = [line(round * 100_000 + part * rows + n, padding) for n in range(rows)]
        draw.shuffle(lines)
        text = "".join(lines).encode()
        file = root / "landing/events" / f"{round}-{part}.jsonl"
        file.write_bytes(text) if padding else file.with_suffix(".jsonl.gz").write_bytes(gzip.compress(text))
    with (root / "landing/events/growing.jsonl").open("a") as growing:
        growing.writelines(line(round * 100_000 + 90_000 + n) for n in range(rows))
    (root / "landing/items" / f"{round}.jsonl").write_text(f'{{"item_id": "i{round}"}}\n')


def line(n: int, padding: str = "") -> str:
    return str(event(n)).replace("'", '"') + padding + "\n"


def rounds(tmp_path: Path, each: int, times: int, seed: int, padding: str = "") -> int:
    """Land and kill, several times over; compare after each -> kills."""
    twin, root = new(tmp_path / "twin"), new(tmp_path / "killed")
    killed = 0
    for round in range(times):
        land(twin, round, padding=padding)
        shutil.copytree(twin / "landing", root / "landing", dirs_exist_ok=True)  # with their times
        spark = bool(padding)
        life = run_undisturbed(twin, BRONZE, D, spark=spark)
        killed += kill_until_done(root, BRONZE, D, each, seed + round, life, spark=spark)
        for table in (BRONZE_EVENTS, BRONZE_ITEMS):
            assert content(root, table) == content(twin, table), f"round {round}"
        rows = Lake(root / "data/lake").rows(BRONZE_EVENTS, columns=["row_id"])["row_id"].to_pylist()
        assert max(Counter(rows).values()) == 1
        assert len(rows) == 5 * 4_000 * (round + 1)
    return killed


def test_an_ingest_killed_in_the_middle_ends_in_the_rows_of_an_undisturbed_one(tmp_path: Path) -> None:
    assert rounds(tmp_path, each=1, times=1, seed=1) == 1


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["", PADDING], ids=["in its own process", "by Spark"])
def test_an_ingest_killed_at_20_random_moments_ends_in_the_rows_of_an_undisturbed_one(
    tmp_path: Path, padding: str
) -> None:
    assert rounds(tmp_path, each=5, times=6, seed=2, padding=padding) >= 20


@pytest.mark.slow
def test_a_client_of_the_warm_server_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    root, draw = new(tmp_path / "warm"), random.Random(3)
    (root / "nightloom.toml").write_text(TOML.replace('spark = "local[2]"', 'spark = "warm"'))
    server.start(root / "data", configuration(root / "data", LAPTOP))
    killed = 0
    try:
        for round in range(6):
            land(root, round, padding=PADDING)
            for _ in range(2):  # what the first one asked for, the server may still be doing when the next one asks
                stage = start(root, BRONZE, D)
                try:
                    stage.wait(draw.uniform(1, 6))
                except subprocess.TimeoutExpired:
                    kill(stage)
                    killed += 1
            finish(root, start(root, BRONZE, D))
            rows = Lake(root / "data/lake").rows(BRONZE_EVENTS, columns=["row_id"])["row_id"].to_pylist()
            assert max(Counter(rows).values()) == 1
            assert len(rows) == 5 * 4_000 * (round + 1)
    finally:
        server.stop(root / "data")
    assert killed >= 3


def test_two_ingests_at_once_end_in_the_rows_of_one_and_each_exit_code_is_true(tmp_path: Path) -> None:
    root = new(tmp_path / "two")
    land(root, 0)
    stages = [start(root, BRONZE, day) for day in (D, NEXT)]
    codes = [stage.wait(120) for stage in stages]
    logs = [log_file(root, stage).read_text() for stage in stages]
    assert 0 in codes, logs
    for code, text in zip(codes, logs, strict=True):
        assert code == 0 or (code == 1 and "another run ingests into" in text and "wait for its end" in text), text
    rows = Lake(root / "data/lake").rows(BRONZE_EVENTS, columns=["row_id"])["row_id"].to_pylist()
    assert max(Counter(rows).values()) == 1
    assert len(rows) == 5 * 4_000
    status = Lake(root / "data/lake").rows(STAGES, columns=["status"])["status"].to_pylist()
    assert sorted(status) == sorted("ok" if code == 0 else "failed" for code in codes)
