"""Readers hammer a store of each kind through publishes, rollbacks and kills: no read is mixed, partial or missing."""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from serving.stores import Store, versions
from serving.stores.pushes import PushError, PushState, version_name
from serving.stores.reader import Reader, Snapshot
from tests.serving.sample_stores import ALL, FOLDERS, USERS, open_store_at, publish_sample, start_server

Place = tuple[str, str]


@pytest.fixture(params=ALL)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Kind and place of a new store."""
    kind: str = request.param
    if kind in FOLDERS:
        yield kind, str(tmp_path / "store")
    else:
        with start_server(kind, tmp_path / kind) as address:
            yield kind, f"{address}#hammered"


def hammer(place: Place, stop: Event, answers: multiprocessing.Queue[tuple[int, set[int], list[str]]]) -> None:
    """Read random users until `stop` is set; report the number of reads, the versions seen, and every wrong row."""
    reader, reads, seen, wrong = Reader(open_store_at(*place)), 0, set(), []
    while not stop.is_set():
        users = random.choices(USERS, k=20)

        def check(snapshot: Snapshot, users: list[str] = users) -> int:
            rows = snapshot.get_many("users", users[:10]) + [snapshot.get("users", user) for user in users[10:]]
            stamp = version_name(snapshot.version)
            for user, row in zip(users, rows, strict=True):
                if row is None or row["version"] != stamp or row["items"] != [str(snapshot.version)]:
                    wrong.append(f"{stamp} {user}: {row}")
            return snapshot.version

        seen.add(reader.ask(check))
        reads += len(users)
        time.sleep(0.001)  # two readers on two cores would starve the publisher
    answers.put((reads, seen, wrong))


@pytest.mark.parametrize(("turns", "kill_every"), [(4, 3), pytest.param(50, 5, marks=pytest.mark.slow)])
def test_no_read_is_ever_mixed_partial_or_missing_while_publishes_rollbacks_and_kills_go_on(
    place: Place, tmp_path: Path, turns: int, kill_every: int
) -> None:
    store = open_store_at(*place)
    publish_sample(store, tmp_path)
    spawn = multiprocessing.get_context("spawn")
    stop, answers = spawn.Event(), spawn.Queue()
    readers = [spawn.Process(target=hammer, args=(place, stop, answers)) for _ in range(2)]
    for reader in readers:
        reader.start()
    dice = random.Random(7)
    for turn in range(turns):
        if turn % kill_every == kill_every - 1:
            publish_and_be_killed(place, after=dice.uniform(0, 0.3))
            after_the_lock(store, tmp_path)
        publish_sample(store, tmp_path)
        if turn % 4 == 3:
            versions.rollback(store, "test")
    stop.set()
    reports = [answers.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert [wrong for _, _, wrong in reports] == [[], []]
    assert all(reads > 0 for reads, _, _ in reports)
    assert len(set().union(*(seen for _, seen, _ in reports))) > 1
    assert [push.state for push in versions.list_pushes(store)].count(PushState.CURRENT) == 1


def publish_without_end(place: Place, begun: Event) -> None:
    store, scratch = open_store_at(*place), Path(tempfile.mkdtemp())
    while True:
        publish_sample(store, scratch)
        begun.set()


def publish_and_be_killed(place: Place, after: float) -> None:
    """Publish in another process, again and again, and kill that some moment into its work."""
    spawn = multiprocessing.get_context("spawn")
    begun = spawn.Event()
    child = spawn.Process(target=publish_without_end, args=(place, begun))
    child.start()
    assert begun.wait(60)
    time.sleep(after)
    child.kill()
    child.join()


def after_the_lock(store: Store, scratch: Path) -> None:
    """Publish as soon as the killed one's lock has ended."""
    deadline = time.monotonic() + 20
    while True:
        try:
            publish_sample(store, scratch)
            return
        except PushError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
