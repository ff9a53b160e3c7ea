"""A store in a folder that is emptied, cut, overwritten or removed: readers go on, and the next push heals it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

import pytest

from benchmarks.faults import cut, damage, data_files
from nightloom.lake import Lake
from nightloom.night import records, stages
from nightloom.places import folder_of
from serving.stores import versions
from serving.stores.base import encode_key, version_stamp
from serving.stores.fallback import FallbackReader
from serving.stores.pushes import PushState
from tests.serving.sample_stores import FOLDERS, USERS, open_store_at, publish_sample, with_hashes

if TYPE_CHECKING:
    from tests.serving.conftest import Client, Project

NEXT = date(1998, 4, 22)
PATHS = (
    "/v1/users/u1/recommendations", "/v1/users/nobody/recommendations", "/v1/popular", "/v1/popular?segment=market=DE",
    "/v1/items/1/similar", "/v1/items/3", "/v1/items/12", "/v1/status", "/healthz", "/console", "/console/users?id=u1",
)  # fmt: skip
DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda place: cut(place, 0),
    "cut": lambda place: cut(place, 0.5),
    "overwritten": damage,
    "removed": rmtree,
}


@pytest.fixture(params=FOLDERS)
def published(request: pytest.FixtureRequest, project: Project) -> Project:
    project.configure("keep = 3", f'keep = 3\nkind = "{request.param}"')
    project.plant_all().judge()
    project.publish()
    return project


def states(project: Project) -> dict[int, str]:
    return {push.version: push.state for push in versions.list_pushes(project.store)}


def assert_answers(client: Client, *, stale: bool) -> None:
    for path in PATHS:
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        if path.startswith("/v1"):
            assert answer.json()["stale"] is stale, path
            assert answer.json().get("items", True), path
    assert client.get("/healthz").json()["status"] == ("stale" if stale else "ok")


def test_readers_of_a_damaged_store_get_stale_answers_and_the_next_push_heals_it(published: Project) -> None:
    running, place = published.client(), folder_of(published.settings.place("store"))
    for version, (how, do_damage) in enumerate(DAMAGES.items(), 2):
        assert_answers(running, stale=False)
        do_damage(place)
        assert_answers(running, stale=True)
        assert "The store is in trouble" in running.get("/console").text
        restarted = published.client()
        assert_answers(restarted, stale=True)
        assert str(place) in restarted.get("/v1/status").json()["trouble"]

        if how == "cut":
            published.judge()  # gate 3 compares the lists with those that are served
        published.publish()
        for client in (running, restarted):
            assert_answers(client, stale=False)
            assert client.get(PATHS[0]).json()["source"] == "personal"
        assert states(published) == {1 if how == "removed" else version: PushState.CURRENT}


def test_after_a_store_was_removed_and_pushed_again_the_same_number_is_another_version(published: Project) -> None:
    client, path = published.client(), "/v1/users/u1/recommendations"
    before = client.get(path).json()
    rmtree(folder_of(published.settings.place("store")))
    published.plant_histories(NEXT)
    published.plant_lists(NEXT, lists={"u1": ["9", "10", "11", "12"]})
    published.judge(NEXT)
    published.publish(NEXT)
    after = client.get(path).json()
    assert (before["slate_version"], after["slate_version"], after["stale"]) == ("v000001", "v000001", False)
    assert [item["item_id"] for item in after["items"]] == ["9", "10", "11"]


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_rollback_passes_over_a_damaged_backup(kind: str, tmp_path: Path) -> None:
    store = open_store_at(kind, str(tmp_path / "store"))
    for _ in range(2):
        publish_sample(store, tmp_path)
    cut(tmp_path / "store", 0)
    publish_sample(store, tmp_path)
    assert versions.rollback(store, "ann: wrong prices") == (3, 1)


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_file_that_was_written_again_with_the_same_content_is_served_on(kind: str, tmp_path: Path) -> None:
    store = open_store_at(kind, str(tmp_path / "store"))
    publish_sample(store, tmp_path)
    lists = FallbackReader(store, 0.25, tmp_path / "last_good.json")

    def is_stale() -> bool:
        return lists.ask_in_thread(lambda snapshot, stale: stale or not snapshot.get("users", USERS[0]))

    assert not is_stale()
    for file in data_files(tmp_path / "store"):
        os.utime(file)
    deadline = time.monotonic() + 5
    while is_stale():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_row_that_is_no_json_is_answered_without_it_each_time(tmp_path: Path) -> None:
    store = open_store_at("files", str(tmp_path / "store"))
    row = with_hashes([encode_key("1")], [f'{version_stamp(1)},"items":["3'.encode()])
    publish_sample(store, tmp_path, {"similar": iter([row])})
    lists = FallbackReader(store, 0.25, tmp_path / "last_good.json")
    for _ in range(2):
        assert lists.ask_in_thread(lambda snapshot, stale: (snapshot.get("similar", "1"), stale)) == (None, True)


def stopped_with(project: Project, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        project.publish()
    assert stop.value.code == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def last_tags(project: Project) -> dict[str, str]:
    return records.stage_runs(Lake(project.settings.place("lake")), stages.PUBLISH)[-1].tags


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of one MB")
@pytest.mark.parametrize("kind", ["lmdb", "files"])
def test_a_full_disk_fails_the_push_with_its_reason_and_keeps_the_record(
    project: Project, capsys: pytest.CaptureFixture[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prediction is passed over: another writer can take the room while a push loads."""
    project.configure("keep = 3", f'keep = 3\nkind = "{kind}"')
    project.plant_items()
    users = {f"user-{number:05d}": [str(3 + number % 9)] * 250 for number in range(1000)}
    project.plant_lists(lists=users)
    project.plant_histories(users=list(users), likes={user: ["1"] for user in users})
    project.judge(override="ann: sizes only")
    place = project.settings.place("store")
    place.mkdir(parents=True)
    monkeypatch.setattr("serving.publish.check_quota", lambda *_: 0)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        assert "cannot be written" in stopped_with(project, capsys)
        (push,) = versions.list_pushes(project.store)
        assert (push.state, push.reason) == (PushState.FAILED, "quota")
        assert last_tags(project)["push"] == "FAILED: quota"
        assert not (place / "v000001").exists()
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_store_that_cannot_be_written_fails_the_push_with_its_reason(
    published: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    place = published.settings.place("store")
    (place / "push.lock").unlink()
    place.rename(published.root / "elsewhere")
    place.write_text("a file where the folder should be", encoding="utf8")
    assert "check its disk and its permissions" in stopped_with(published, capsys)
    assert last_tags(published)["push"] == "FAILED: store"
