"""A rank's shard of the likes: whose they are, what they are, and the memory that reading it takes."""

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks.likes import write_likes
from models.base import Examples
from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake
from tests.training.small_project import DAY, MakeProject, Row, event, night_of
from training.dataset import read_log, training_examples
from training.rank_shards import read_shard

CUT = DAY + timedelta(days=1)


def likes() -> list[Row]:
    rng = np.random.default_rng(0)
    return [
        event(f"u{user:02}", f"i{rng.integers(9)}", float(rng.integers(1, 20)), weight=float(rng.integers(3)))
        for user in range(30)
        for _ in range(rng.integers(1, 12))
    ]


@pytest.fixture
def lake(project: MakeProject) -> Lake:
    unique = {row["event_id"]: row for row in likes()}
    return night_of(project(["popularity"], list(unique.values()))).lake


def histories(examples: Examples) -> list[list[tuple[str, float, int]]]:
    """Each user's events as (item, weight, second), the histories sorted."""
    users, events = [], examples.histories
    for first, last in zip(events.indptr, events.indptr[1:], strict=False):
        here = slice(first, last)
        items = examples.item_ids[events.items[here]].tolist()
        users.append(list(zip(items, events.weights[here].tolist(), events.times[here].tolist(), strict=True)))
    return sorted(users)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_the_shards_together_hold_every_users_complete_history_once(lake: Lake, size: int) -> None:
    version = lake.version(INTERACTIONS)
    everything = training_examples(read_log(lake, version, CUT, only_likes=True), CUT, seed=1)
    shards = [read_shard(lake, version, CUT, 1, rank, size) for rank in range(size)]
    for shard in shards:
        assert shard.item_ids.tolist() == everything.item_ids.tolist()
        assert (shard.cut, shard.seed) == (everything.cut, everything.seed)
        assert (shard.histories.lengths_B > 0).all()
    assert sorted(user for shard in shards for user in histories(shard)) == histories(everything)


def test_a_shard_is_of_the_given_version_and_ends_at_the_cut(lake: Lake) -> None:
    version = lake.version(INTERACTIONS)
    lake.append(INTERACTIONS, [event("new", "new", 5)])
    assert "new" not in read_shard(lake, version, CUT, 1).item_ids
    assert "new" in read_shard(lake, version + 1, CUT, 1).item_ids
    earlier = CUT - timedelta(days=10)
    assert read_shard(lake, version, earlier, 1).histories.times.max() < earlier.timestamp()


def test_before_the_first_like_a_shard_is_empty(lake: Lake) -> None:
    examples = read_shard(lake, lake.version(INTERACTIONS), datetime.fromisoformat("2020-01-01T00:00Z"), 1)
    assert (len(examples.item_ids), len(examples.histories), len(examples.histories.items)) == (0, 0, 0)


READER = """
import sys
from datetime import datetime
from pathlib import Path
from nightloom.lake import Lake
from training import dataset, rank_shards

def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)

lake, cut = Lake(Path(sys.argv[1])), datetime.fromisoformat("2027-01-01")
version, before = lake.version(rank_shards.INTERACTIONS), peak()
rank_shards.SORT_MEMORY = "100MB"
if sys.argv[2] == "shard":
    likes = len(rank_shards.read_shard(lake, version, cut, seed=1).histories.items)
else:
    likes = len(dataset.read_log(lake, version, cut, only_likes=True).users_N)
print(likes, (peak() - before) // 1024)
"""


def read_in_process(lake: Lake, what: str) -> tuple[int, int]:
    """Read a shard or the whole log in a process of its own -> likes, and MB by which the process grew at most."""
    command = [sys.executable, "-c", READER, str(lake.root), what]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    likes, megabytes = process.stdout.split()
    return int(likes), int(megabytes)


@pytest.mark.parametrize("rows", [2_000_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_shard(tmp_path: Path, rows: int) -> None:
    lake = write_likes(tmp_path / "lake", rows, items=20_000)
    likes, grown = read_in_process(lake, "shard")  # of a single rank: all likes
    assert likes == rows
    assert grown < 400  # about 280 and 320 here, of them 100 for the sort; the whole log: 340 and 1,110
    assert grown < read_in_process(lake, "log")[1]
