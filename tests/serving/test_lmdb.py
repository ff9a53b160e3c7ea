"""stores/lmdb.py: whole versions only, whatever happens to the publisher; readers see a flip at once."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow as pa
import pytest

from nightloom.errors import StoreError
from serving.stores import lmdb, versions
from serving.stores.versions import PushError, Reason, State

USERS = [f"u{number:04d}" for number in range(300)]


def rows(version: int, kind: str) -> Iterator[pa.RecordBatch]:
    """Values in which every list says its version once more, so that a mixed list would show."""
    ids = {"users": USERS, "items": [str(n) for n in range(9)], "popular": ["all"]}[kind]
    body = {"items": f'"title":"t{version}"'}.get(kind, f'"items":["{version}"],"scores":[1.0]')
    values = [f'{lmdb.head(version, "2026-01-01T00:00:00Z")}"id":"{each}",{body}}}'.encode() for each in ids]
    for start in range(0, len(ids), 100):
        keys = [lmdb.key(each) for each in ids[start : start + 100]]
        yield pa.record_batch({"key": pa.array(keys, pa.binary()), "value": pa.array(values[start : start + 100])})


def quiet(kind: str, done: int) -> None:
    pass


def loaded(folder: Path, version: int, kinds: dict[str, Iterator[pa.RecordBatch]] | None = None) -> lmdb.Loaded:
    kinds = {kind: rows(version, kind) for kind in lmdb.KINDS} | (kinds or {})
    return lmdb.load(folder, kinds, 64 << 20, quiet)


def publish(store: Path) -> int:
    with versions.exclusive(store):
        versions.settle(store)
        push = versions.begin(store, "1998-04-21", "run")
        folder = versions.folder(store, push.version)
        done = loaded(folder, push.version)
        lmdb.finish(folder, {"version": push.version, "checksum": done.checksum, "k": 1, "stored": 1})
        push = versions.write(store, push, State.LOADED)
        lmdb.verify(folder, push.version, done)
        versions.flip(store, versions.write(store, push, State.VERIFIED))
        versions.prune(store, 3)
    return push.version


def test_a_reader_sees_a_flip_at_its_next_call_and_an_old_version_stays_readable_while_held(tmp_path: Path) -> None:
    publish(tmp_path)
    reader = lmdb.Reader(tmp_path)
    first = reader.now()
    for expected in range(2, 7):
        publish(tmp_path)
        assert reader.now().version == expected
    assert not versions.folder(tmp_path, 1).exists()
    assert first.get("users", "u0007") == {
        "version": "v000001", "generated_at": "2026-01-01T00:00:00Z", "id": "u0007", "items": ["1"], "scores": [1.0],
    }  # fmt: skip


def test_a_version_that_is_flipped_back_to_while_held_is_opened_once(tmp_path: Path) -> None:
    publish(tmp_path)
    reader = lmdb.Reader(tmp_path)
    first = reader.now()
    publish(tmp_path)
    assert reader.now().version == 2
    versions.rollback(tmp_path, "test")
    assert reader.now() is first


def test_before_the_first_publish_a_reader_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing is published yet"):
        lmdb.Reader(tmp_path / "nowhere").now()


def test_with_the_store_gone_the_last_good_version_is_served_and_marked(tmp_path: Path) -> None:
    store = tmp_path / "store"
    publish(store)
    reader = lmdb.Reader(store)
    assert (reader.now().version, reader.stale) == (1, False)
    store.rename(tmp_path / "elsewhere")
    assert (reader.now().version, reader.stale) == (1, True)
    (tmp_path / "elsewhere").rename(store)
    assert (reader.now().version, reader.stale) == (1, False)


@pytest.mark.parametrize("user", ["", "x" * 5000, "é\x00\n", "a/b?c=d"])
def test_any_text_can_be_asked_for(tmp_path: Path, user: str) -> None:
    publish(tmp_path)
    assert lmdb.Reader(tmp_path).now().get("users", user) is None


def test_the_same_id_twice_fails_by_count(tmp_path: Path) -> None:
    twice = rows(1, "users"), rows(1, "users")
    done = loaded(tmp_path, 1, {"users": (batch for part in twice for batch in part)})
    lmdb.finish(tmp_path, {})
    with pytest.raises(PushError, match="holds 300 users, 600 were pushed") as failed:
        lmdb.verify(tmp_path, 1, done)
    assert failed.value.reason == Reason.COUNT_MISMATCH


def test_a_value_of_another_version_fails_by_its_stamp(tmp_path: Path) -> None:
    done = loaded(tmp_path, 1, {"items": rows(2, "items")})
    lmdb.finish(tmp_path, {})
    with pytest.raises(PushError, match=r"carries .*v000002") as failed:
        lmdb.verify(tmp_path, 1, done)
    assert failed.value.reason == Reason.CHECKSUM


def test_content_that_reads_back_otherwise_fails_by_checksum(tmp_path: Path) -> None:
    done = loaded(tmp_path, 1)
    done.digest.update(b"what else was sent")
    lmdb.finish(tmp_path, {})
    with pytest.raises(PushError, match="does not read back"):
        lmdb.verify(tmp_path, 1, done)


def test_without_a_popular_list_for_everybody_a_version_is_not_good(tmp_path: Path) -> None:
    done = loaded(tmp_path, 1, {"popular": iter([])})
    lmdb.finish(tmp_path, {})
    with pytest.raises(PushError, match="no popular list `all`"):
        lmdb.verify(tmp_path, 1, done)


def test_a_map_that_is_too_small_fails_by_quota(tmp_path: Path) -> None:
    with pytest.raises(PushError) as failed:
        lmdb.load(tmp_path, {"users": rows(1, "users")}, 1 << 15, quiet)
    assert failed.value.reason == Reason.QUOTA


def hammer(store: Path, stop: Event, answers: multiprocessing.Queue[tuple[int, set[int], list[str]]]) -> None:
    """Read random users until told to stop; report reads, versions seen, and everything that was wrong."""
    reader, reads, seen, wrong = lmdb.Reader(store), 0, set(), []
    while not stop.is_set():
        snapshot = reader.now()
        for user in random.choices(USERS, k=20):
            row = snapshot.get("users", user)
            stamp = versions.name(snapshot.version)
            if row is None or row["version"] != stamp or row["items"] != [str(snapshot.version)]:
                wrong.append(f"{stamp} {user}: {row}")
            reads += 1
        seen.add(snapshot.version)
        time.sleep(0.001)  # two readers on two cores would starve the publisher
    answers.put((reads, seen, wrong))


@pytest.mark.parametrize(("turns", "kill_every"), [(20, 10), pytest.param(50, 3, marks=pytest.mark.slow)])
def test_no_read_is_ever_mixed_partial_or_missing_while_publishes_rollbacks_and_kills_go_on(
    tmp_path: Path, turns: int, kill_every: int
) -> None:
    publish(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    stop, answers = spawn.Event(), spawn.Queue()
    readers = [spawn.Process(target=hammer, args=(tmp_path, stop, answers)) for _ in range(2)]
    for reader in readers:
        reader.start()
    dice = random.Random(7)
    for turn in range(turns):
        if turn % kill_every == kill_every - 1:
            publish_and_be_killed(tmp_path, after=dice.uniform(0, 0.05))
        publish(tmp_path)
        if turn % 5 == 4:
            versions.rollback(tmp_path, "test")
    stop.set()
    reports = [answers.get(timeout=30) for _ in readers]
    for reader in readers:
        reader.join()
    assert [wrong for _, _, wrong in reports] == [[], []]
    assert all(reads > 0 for reads, _, _ in reports)
    assert set().union(*(seen for _, seen, _ in reports)) <= set(range(1, 200))
    assert [push.state for push in versions.pushes(tmp_path)].count(State.CURRENT) == 1


def publish_without_end(store: Path, begun: Event) -> None:
    while True:
        publish(store)
        begun.set()


def publish_and_be_killed(store: Path, after: float) -> None:
    """Publish in another process, again and again, and kill that some moment into its work."""
    spawn = multiprocessing.get_context("spawn")
    begun = spawn.Event()
    child = spawn.Process(target=publish_without_end, args=(store, begun))
    child.start()
    assert begun.wait(30)
    time.sleep(after)
    child.kill()
    child.join()
