"""canary.py: a share of the users has the new version first; a guardrail that says no gives them the old one back."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import psutil
import pytest

from nightloom.settings import Canary
from serving import canary
from serving.stores import versions
from serving.stores.files import FilesStore
from serving.stores.pushes import POINTER, FailureReason, Push, PushError, PushState
from serving.stores.reader import Reader
from tests.serving.sample_stores import USERS, load_sample, publish_sample

D_NEXT = "1998-04-22"


def load_verified(store: FilesStore) -> Push:
    push = versions.begin_push(store, D_NEXT, "run")
    done = load_sample(store, push.version)
    return versions.set_state(store, push, PushState.VERIFIED, checksum=done.checksum, k=1, stored=1)


def share_of_new(reader: Reader) -> float:
    return sum(reader.current(user).version == 2 for user in USERS) / len(USERS)


def test_during_a_canary_its_share_of_users_and_nobody_else_has_the_new_version(tmp_path: Path) -> None:
    store = FilesStore(str(tmp_path), "sample")
    publish_sample(store, tmp_path)
    reader, shares = Reader(store), list[float]()

    def look() -> None:
        time.sleep(0.3)
        shares.append(share_of_new(reader))
        shares.append(float(reader.current().version == 2))

    with store.exclusive_lock():
        push = load_verified(store)
        looking = threading.Thread(target=look)
        looking.start()
        check = 'test "$NIGHTLOOM_CURRENT $NIGHTLOOM_CANARY" = "v000001 v000002"'
        canary.run_canary(store, push, Canary(share=0.3, minutes=1.5 / 60, check=check, every_seconds=0.5))
        looking.join()
        assert shares == [pytest.approx(0.3, abs=0.1), 0.0]
        assert share_of_new(reader) == 0.0
        versions.flip(store, push)
    assert share_of_new(reader) == 1.0


def test_a_guardrail_that_says_no_ends_it_and_names_the_reason(tmp_path: Path) -> None:
    store = FilesStore(str(tmp_path), "sample")
    publish_sample(store, tmp_path)
    with store.exclusive_lock():
        push = load_verified(store)
        says_no = Canary(share=0.5, minutes=1, check="echo errors doubled; exit 7", every_seconds=0.05)
        with pytest.raises(PushError, match="ended with 7, saying 'errors doubled'; everybody has v000001") as failed:
            canary.run_canary(store, push, says_no)
    assert failed.value.reason == FailureReason.GUARDRAIL
    assert share_of_new(Reader(store)) == 0.0


def test_a_check_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    store, started = FilesStore(str(tmp_path), "sample"), tmp_path / "started"
    publish_sample(store, tmp_path)
    with store.exclusive_lock():
        push = load_verified(store)
        check = f"echo asking; sleep 600 & echo $! > {started}; wait"
        hangs = Canary(share=0.5, minutes=1, check=check, every_seconds=0.05, check_seconds=1)
        with pytest.raises(PushError, match="did not end within 1 s, saying 'asking'; everybody has v000001") as failed:
            canary.run_canary(store, push, hangs)
    assert failed.value.reason == FailureReason.GUARDRAIL
    assert share_of_new(Reader(store)) == 0.0
    sleeper = int(started.read_text())
    assert not psutil.pid_exists(sleeper) or psutil.Process(sleeper).status() == psutil.STATUS_ZOMBIE


def test_a_canary_whose_publisher_was_killed_ends_by_itself_and_is_settled(tmp_path: Path) -> None:
    store = FilesStore(str(tmp_path), "sample")
    publish_sample(store, tmp_path)
    with store.exclusive_lock():
        load_verified(store)
        store.write_note(POINTER, "v000001 v000002 0.5 2026-01-01T00:00:00Z")
        assert share_of_new(Reader(store)) == 0.0
        assert versions.recover(store) == ["ended a canary"]
    assert (store.read_note(POINTER), json.loads(store.read_note("v000002") or "")["state"]) == ("v000001", "VERIFIED")
