"""stores/lmdb.py, its own features: a map that grows, an environment that is opened once."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import loader
from serving.stores import lmdb, versions
from serving.stores.lmdb import LmdbStore
from serving.stores.reader import Reader
from tests.serving.sample_stores import load_sample, publish_sample


def test_a_version_stays_readable_while_held_and_is_opened_once_when_flipped_back_to(tmp_path: Path) -> None:
    store = LmdbStore(str(tmp_path), "sample")
    publish_sample(store, tmp_path)
    reader = Reader(store)
    first = reader.current()
    publish_sample(store, tmp_path)
    assert reader.current().version == 2
    versions.rollback(store, "test")
    assert reader.current() is first
    for _ in range(4):
        publish_sample(store, tmp_path)
    assert not store.folder(1).exists()
    row = first.get("users", "u0007")
    assert row is not None
    assert row["items"] == ["1"]


def test_a_map_that_is_full_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb, "FIRST_MAP", 1 << 16)
    store = LmdbStore(str(tmp_path), "sample")
    with store.exclusive_lock():
        push = versions.begin_push(store, "1998-04-21", "run")
        loader.verify(store, push.version, load_sample(store, push.version), tmp_path)
