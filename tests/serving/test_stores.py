"""Every kind of store, on its real server, fulfils the interface of stores/base.py."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nightloom.errors import StoreError
from serving import loader
from serving.stores import STORE_KINDS, Store, base, overlay, versions
from serving.stores.base import KINDS, RowSizes, VersionPrunedError
from serving.stores.overlay import Cause
from serving.stores.pointer import VersionKey
from serving.stores.pushes import FailureReason, PushError, PushState
from serving.stores.reader import Reader, Snapshot
from tests.serving.sample_stores import (
    ALL,
    FOLDERS,
    OBJECTS,
    USERS,
    load_sample,
    no_progress,
    open_store_at,
    publish_sample,
    sample_rows,
    start_objects,
    start_server,
    with_hashes,
)

NUMBER = itertools.count()


class Started(dict[str, str]):
    """Kind of a server -> its address; started when a test asks for it first."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder

    def __missing__(self, kind: str) -> str:
        folder = self.folder / kind
        folder.mkdir()
        server = start_objects(folder) if kind == OBJECTS else start_server(kind, folder)
        self[kind] = self.stack.enter_context(server)
        return self[kind]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with ExitStack() as stack:
        yield Started(stack, tmp_path_factory.mktemp("servers"))


@pytest.fixture(params=[*ALL, pytest.param(OBJECTS, marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, servers: Started, tmp_path: Path) -> tuple[str, str]:
    """Kind and place of a store that nobody has used."""
    kind: str = request.param
    if kind == OBJECTS:
        return kind, f"{servers[kind]}/test-{next(NUMBER)}"
    return kind, str(tmp_path / "store") if kind in FOLDERS else f"{servers[kind]}#test-{next(NUMBER)}"


@pytest.fixture
def store(place: tuple[str, str]) -> Store:
    return open_store_at(*place)


def measure_sizes(users: int) -> dict[str, RowSizes]:
    """The sizes of the rows of `rows_of`."""
    found = {}
    for kind in KINDS:
        batches = list(rows_of(1, kind, users))
        sizes = [[len(value) for batch in batches for value in batch[name].to_pylist()] for name in ("key", "value")]
        found[kind] = RowSizes(len(sizes[0]), *(np.array(each) for each in sizes))
    return found


def rows_of(version: int, kind: str, users: int) -> Iterator[pa.RecordBatch]:
    """Users with lists of many lengths."""
    ids = sorted(f"user-{number}" for number in range(users)) if kind == "users" else ["all"]
    stamp = base.value_header(version, "2026-01-01T00:00:00Z")
    for start in range(0, len(ids), 2000):
        some = ids[start : start + 2000]
        values = [f'{stamp}"items":["{"x" * (1500 + len(each) * 37 + n % 700)}"]}}' for n, each in enumerate(some)]
        yield with_hashes([base.encode_key(each) for each in some], [value.encode() for value in values])


def test_published_rows_are_read_by_key_and_by_scan(store: Store, tmp_path: Path) -> None:
    publish_sample(store, tmp_path)
    snapshot = Reader(store).current()
    assert snapshot.get("users", "u0007") == {
        "version": "v000001", "generated_at": "2026-01-01T00:00:00Z", "id": "u0007", "items": ["1"], "scores": [1.0],
    }  # fmt: skip
    found = snapshot.get_many("users", ["u0299", "nobody", "u0000"])
    assert [row and row["id"] for row in found] == ["u0299", None, "u0000"]
    assert len(list(snapshot.values("users"))) == len(USERS)
    assert snapshot.meta["k"] == 1


def test_a_version_from_before_a_kind_existed_is_read_measured_and_deleted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tuple(kind for kind in KINDS if kind != "similar")
    with monkeypatch.context() as before:
        for name in {"serving.stores.objects", *(kind.path.split(":")[0] for kind in STORE_KINDS.values())}:
            before.setattr(f"{name}.KINDS", old, raising=False)  # some have no list of kinds of their own
        before.setattr("tests.serving.sample_stores.KINDS", old)
        publish_sample(store, tmp_path)
    snapshot = Reader(store).current()
    assert snapshot.get_many("similar", ["1", "2"]) == [None, None]
    assert snapshot.get("popular", "all") is not None
    assert store.version_bytes(1) > 0
    store.delete_rows(1)


def test_a_reader_sees_a_flip_and_a_rollback(store: Store, tmp_path: Path) -> None:
    reader = Reader(store)
    for expected in (1, 2, 3, 4):
        publish_sample(store, tmp_path)
        assert reads_within_two_seconds(reader, expected)
    assert versions.rollback(store, "ann: wrong prices") == (4, 3)
    assert reads_within_two_seconds(reader, 3)
    assert [push.state for push in versions.list_pushes(store)] == [
        PushState.BACKUP,
        PushState.CURRENT,
        PushState.ROLLED_BACK,
    ]


def reads_within_two_seconds(reader: Reader, version: int) -> bool:
    """Whether a reader gets a version within two seconds; a folder's gets it at its next call."""
    deadline = time.monotonic() + (2 if reader.store.remote else 0)
    while (found := reader.current().version) != version and time.monotonic() < deadline:
        time.sleep(0.05)
    return found == version


def test_a_pruned_version_leaves_nothing_and_its_readers_ask_again(store: Store, tmp_path: Path) -> None:
    publish_sample(store, tmp_path)
    first = Reader(store).current()
    for _ in range(3):
        publish_sample(store, tmp_path)
    assert [push.version for push in versions.list_pushes(store)] == [2, 3, 4]
    if first.survives_pruning:  # still mapped
        assert first.get("users", "u0007") is not None
    else:
        with pytest.raises(VersionPrunedError, match="v000001 was pruned while it was read"):
            first.get("users", "u0007")
    with pytest.raises(VersionPrunedError):
        Snapshot.open(store, VersionKey(1))
    assert Reader(store).ask(lambda snapshot: snapshot.get("users", "nobody")) is None


def test_before_the_first_publish_there_is_nothing(store: Store) -> None:
    assert (versions.current_version(store), versions.list_pushes(store), store.read_note("other")) == (None, [], None)
    with pytest.raises(StoreError, match="nothing is published yet"):
        Reader(store).current()


def test_a_note_is_replaced_completely_and_can_be_deleted(store: Store) -> None:
    with store.exclusive_lock():
        store.write_note("one", "é\n")
        store.write_note("one", "more")
        store.write_note("two", "")
        assert store.read_notes() == {"one": "more", "two": ""}
        store.write_note("one", None)
        store.write_note("one", None)
    assert (store.read_note("one"), store.read_note("two")) == (None, "")


def test_of_two_pushes_at_once_one_fails_and_names_the_other(store: Store, place: tuple[str, str]) -> None:
    with store.exclusive_lock(), pytest.raises(PushError, match=r"another push is under way .*process") as raised:
        open_store_at(*place).exclusive_lock().__enter__()
    assert raised.value.reason == FailureReason.CONCURRENT_PUSH
    with open_store_at(*place).exclusive_lock():
        pass


def hold(place: tuple[str, str], held: Event) -> None:
    with open_store_at(*place).exclusive_lock():
        held.set()
        time.sleep(600)


def test_the_lock_ends_with_a_killed_process(store: Store, place: tuple[str, str]) -> None:
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    holder = spawn.Process(target=hold, args=(place, held))
    holder.start()
    assert held.wait(60)
    holder.kill()
    holder.join()
    wait_for_the_lock(store)


def wait_for_the_lock(store: Store) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with store.exclusive_lock():
                return
        except PushError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_an_interrupted_load_continues_to_the_same_result(store: Store, tmp_path: Path) -> None:
    with store.exclusive_lock():
        push = versions.begin_push(store, "1998-04-21", "run", source="the same")
        store.begin_load(push.version)
        first = next(sample_rows(push.version, "users")).select(base.SCHEMA.names)
        store.load_part(push.version, ("users", 0), first)
        store.load_part(push.version, ("users", 0), first) if store_is_idempotent(store) else None
    with store.exclusive_lock():
        versions.recover(store)
        again = versions.begin_push(store, "1998-04-21", "run 2", source="the same")
        assert (again.version, again.state) == (push.version, PushState.STARTED)
        loader.verify(store, again.version, load_sample(store, again.version), tmp_path)
        other = versions.begin_push(store, "1998-04-21", "run 3", source="another")
        assert other.version == 2
        assert [push.version for push in versions.list_pushes(store)] == [2]


def store_is_idempotent(store: Store) -> bool:
    """LMDB only appends: it starts a load again instead."""
    return type(store).__name__ != "LmdbStore"


def test_the_same_id_twice_fails_by_count(store: Store, tmp_path: Path) -> None:
    twice = (batch for part in (sample_rows(1, "users"), sample_rows(1, "users")) for batch in part)
    with store.exclusive_lock(), pytest.raises(PushError, match="users has b'=u0000' twice, or out of order") as failed:
        loader.verify(store, 1, load_sample(store, 1, {"users": twice}), tmp_path)
    assert failed.value.reason == FailureReason.COUNT_MISMATCH


def test_a_value_of_another_version_fails_by_its_stamp(store: Store, tmp_path: Path) -> None:
    with store.exclusive_lock(), pytest.raises(PushError, match=r"9 items do not begin with .*v000001") as failed:
        loader.verify(store, 1, load_sample(store, 1, {"items": sample_rows(2, "items")}), tmp_path)
    assert failed.value.reason == FailureReason.CHECKSUM


def test_content_that_reads_back_differently_fails_by_checksum(store: Store, tmp_path: Path) -> None:
    with store.exclusive_lock():
        done = load_sample(store, 1)
        done.sums["users"] += 1
        with pytest.raises(PushError, match="users do not read back"):
            loader.verify(store, 1, done, tmp_path)


def test_a_version_without_everybodys_popular_list_fails(store: Store, tmp_path: Path) -> None:
    with store.exclusive_lock():
        push = versions.begin_push(store, "1998-04-21", "run")
        done = load_sample(store, push.version, {"popular": iter([])})
        with pytest.raises(PushError, match="no popular list `all`"):
            loader.verify(store, push.version, done, tmp_path)


@pytest.mark.parametrize("user", ["", "x" * 5000, "é\x00\n", "a/b?c=d"])
def test_any_text_may_be_an_id(store: Store, tmp_path: Path, user: str) -> None:
    with store.exclusive_lock():
        push = versions.begin_push(store, "1998-04-21", "run")
        done = load_sample(store, push.version, {"users": sample_rows(1, "users", [user])})
        loader.verify(store, push.version, done, tmp_path)
        row = Snapshot.open(store, VersionKey(push.version)).get("users", user)
    assert row is not None


def test_predicted_bytes_are_within_5_per_cent(store: Store) -> None:
    users = 20_000
    with store.exclusive_lock():
        loader.load(store, 1, {kind: rows_of(1, kind, users) for kind in KINDS}, None, no_progress)
        assert store.predict_bytes(measure_sizes(users)) == pytest.approx(store.version_bytes(1), rel=0.05)


def test_a_load_respects_its_rate(store: Store) -> None:
    begun = time.monotonic()
    with store.exclusive_lock():
        loader.load(store, 1, {kind: sample_rows(1, kind) for kind in KINDS}, 400, no_progress)
    assert time.monotonic() - begun >= (300 + 9) / 400


def test_a_note_is_swapped_only_where_it_is_as_it_was_read(store: Store) -> None:
    assert not store.swap_note("N", "x", "a")
    assert store.swap_note("N", None, "a")
    assert not store.swap_note("N", None, "b")
    assert store.swap_note("N", "a", 'b "\u00e9" \n')
    assert not store.swap_note("N", "a", "c")
    assert store.read_note("N") == 'b "\u00e9" \n'


def test_of_changes_at_one_moment_none_is_lost_and_none_waits_for_a_push(store: Store, place: tuple[str, str]) -> None:
    def block(number: int) -> None:
        own = open_store_at(*place)
        for item in range(4):
            overlay.add(own, Cause.BLOCKED, [f"{number}-{item}"], f"ann: {number}")

    with store.exclusive_lock(), ThreadPoolExecutor(4) as pool:
        list(pool.map(block, range(4)))
    found = overlay.read(store)
    assert found.hidden == {f"{number}-{item}" for number in range(4) for item in range(4)}
    assert overlay.remove(store, Cause.BLOCKED, ["0-0", "nothing"], "ann: back") == ["0-0"]
    assert len(overlay.read(store).hidden) == 15
