"""A publish, a rollback and a killed worker of four: no reader sees an error or two versions in one answer."""

from pathlib import Path

from benchmarks import changes
from benchmarks.fault_load import PROJECT, Drive, Reply
from serving.stores import store_class

SECONDS = 10.0
"""The benchmark measures it; here other tests run at the same time."""


def test_readers_see_no_error_and_no_mixed_version(tmp_path: Path) -> None:
    store = store_class("lmdb")(str(tmp_path / "api" / "data" / "store"), PROJECT)
    found = changes.measure("lmdb", store, tmp_path, None, rate=60, seconds=1.5)
    assert list(found) == ["publish", "rollback", "worker killed"]
    assert {(each.errors, each.mixed, each.stale) for each in found.values()} == {(0, 0, 0)}
    assert (found["publish"].broken, found["rollback"].broken) == (0, 0)
    assert all(each.seconds < SECONDS for each in found.values())


def test_a_list_of_two_versions_is_noticed() -> None:
    def reply(at: float, *tags: int) -> Reply:
        items = [{"score": float(tag), "title": f"{tag} i1"} for tag in tags]
        return Reply("own list", at, 0.1, 200, {"model_version": "1", "items": items})

    assert reply(0, 1, 1).of_one_push
    assert not reply(0, 1, 2).of_one_push
    assert not reply(0, 2, 2).of_one_push
    seen = Drive([reply(1, 1), reply(2.5, 1), reply(3, 2), reply(4, 1)], begun=[1.5, 3.5], moments=[2, 3.6])
    assert seen.seconds_to_all_of(2, 0) == 0.5
    assert seen.seconds_to_all_of(1, 1) == 0.0
