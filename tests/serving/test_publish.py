"""publish.py: only lists that gate 3 has passed are published, once, completely, and never over a newer night."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from nightloom.lake import Lake
from nightloom.night import records, stages
from nightloom.places import folder_of
from serving import publish
from serving.store_rows import StoreRows
from serving.stores import folder, versions
from serving.stores.pushes import PushState
from serving.stores.reader import Reader

if TYPE_CHECKING:
    from tests.serving.conftest import Project

D, NEXT = date(1998, 4, 21), date(1998, 4, 22)


def states(project: Project) -> dict[int, str]:
    return {push.version: push.state for push in versions.list_pushes(project.store)}


def stopped(
    project: Project, capsys: pytest.CaptureFixture[str], day: date = D, **arguments: str
) -> tuple[object, str]:
    """Exit code and the last line of a publish that does not go through."""
    with pytest.raises(SystemExit) as left:
        project.publish(day, **arguments)
    return left.value.code, capsys.readouterr().err.strip().splitlines()[-1]


def next_night(project: Project) -> None:
    project.plant_histories(NEXT)
    project.plant_lists(NEXT, lists={"u1": ["9", "10", "11", "12"]})
    project.judge(NEXT)


def test_a_published_night_holds_every_list_item_and_the_meta_record(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    snapshot = Reader(project.store).current()
    assert snapshot.get("users", "u2") == {
        "version": "v000001", "generated_at": "1998-04-21T12:00:05Z", "user": "u2", "model_version": "7",
        "items": ["4", "5", "6", "7"], "scores": [9.5, 8.5, 7.5, 6.5],
    }  # fmt: skip
    assert snapshot.title("3") == 'Film "3" <é>'
    assert snapshot.meta["counts"] == {"users": 8, "items": 12, "popular": 2, "similar": 2}
    assert (snapshot.meta["night"], snapshot.meta["model_version"], snapshot.meta["k"]) == ("1998-04-21", "7", 3)
    run = records.stage_runs(Lake(project.settings.place("lake")), stages.PUBLISH)[-1]
    assert run.tags["published_version"] == "1"
    assert run.reads.keys() >= {"gold.recommendations", "gold.popular", "gold.similar_items", "silver.items"}


def test_a_night_that_scored_one_user_is_judged_and_published_completely(project: Project) -> None:
    project.plant_all()
    project.plant_histories(NEXT)
    project.plant_lists(NEXT, {"u1": ["9", "10", "11", "12"]}, only=["u1"], full_night=D)
    project.plant_popular(NEXT)
    project.judge(NEXT)
    judged = records.stage_runs(Lake(project.settings.place("lake")), stages.SLATE_GATE)[-1]
    assert judged.rows["lists"] == 8
    project.publish(NEXT)
    snapshot = Reader(project.store).current()
    assert snapshot.meta["counts"]["users"] == 8
    lists = {user: snapshot.get("users", user) for user in ("u1", "u2")}
    assert [(each["items"], each["generated_at"]) for each in lists.values() if each] == [
        (["9", "10", "11", "12"], "1998-04-22T12:00:05Z"), (["4", "5", "6", "7"], "1998-04-21T12:00:05Z"),
    ]  # fmt: skip


def test_the_next_night_serves_version_2_and_keeps_version_1(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    next_night(project)
    project.publish(NEXT)
    assert states(project) == {1: PushState.BACKUP, 2: PushState.CURRENT}


def test_the_same_lists_again_publish_nothing_new(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.plant_all().judge()
    project.publish()
    project.judge()
    project.publish()
    assert "the lists equal those of v000001, which stays; nothing new" in capsys.readouterr().out
    assert states(project) == {1: PushState.CURRENT}


def test_without_a_judgement_nothing_is_published(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = stopped(project.plant_all(), capsys)
    assert code == 3
    assert (
        "the slate gate has not judged 1998-04-21; run `python -m serving.slate_gate --date 1998-04-21` first" in line
    )
    assert [(push.state, push.reason) for push in versions.list_pushes(project.store)] == [("FAILED", "gate_closed")]


def test_a_closed_gate_keeps_yesterdays_lists(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.plant_all().judge()
    project.publish()
    project.plant_histories(NEXT)
    project.plant_lists(NEXT, lists={"u1": ["1", "2", "3", "4"]})
    with pytest.raises(SystemExit):
        project.judge(NEXT)
    code, line = stopped(project, capsys, NEXT)
    assert code == 3
    assert "the slate gate is closed for 1998-04-22 (seen_item)" in line
    assert Reader(project.store).current().version == 1


def test_an_override_lets_a_closed_gate_pass_by_name(project: Project) -> None:
    project.plant_all()
    project.plant_histories(users=["without", "too"])
    project.judge(override="ann: two users are on their way")
    project.publish()
    assert states(project) == {1: PushState.CURRENT}
    assert records.gate_results(Lake(project.settings.place("lake")), D)["slate"].state == "overridden"


def test_lists_written_after_the_judgement_are_not_published(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.plant_all().judge()
    project.plant_lists(lists={"late": ["3", "4", "5", "6"]}, only=["late"])
    code, line = stopped(project, capsys)
    assert code == 1
    assert "was written again since the slate gate judged version 2" in line
    assert versions.read_push(project.store, 1).reason == "dataset_changed"


def test_another_nights_lists_do_not_count_as_a_change(project: Project) -> None:
    project.plant_all().judge()
    project.plant_lists(NEXT)
    project.publish()
    assert states(project) == {1: PushState.CURRENT}


def test_an_older_night_never_replaces_a_newer_one_unless_forced_by_name(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.plant_all().judge()
    next_night(project)
    project.publish(NEXT)
    code, line = stopped(project, capsys)
    assert code == 1
    assert "v000001 serves the night of 1998-04-22, newer than 1998-04-21; nothing published" in line
    project.publish(force_older="ann: the newer one was a test")
    assert Reader(project.store).current().meta["night"] == "1998-04-21"


def test_a_disk_without_room_stops_the_push_before_it_writes(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only stand-in: a full disk cannot be had here."""
    project.plant_all().judge()
    monkeypatch.setattr(folder, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    code, line = stopped(project, capsys)
    assert code == 1
    assert "has 10 free; free some, or lower slate.stored or store.keep" in line
    assert versions.read_push(project.store, 1).reason == "quota"


def test_a_push_while_another_runs_fails_and_leaves_nothing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.plant_all().judge()
    with project.store.exclusive_lock():
        code, line = stopped(project, capsys)
    assert code == 1
    assert "another push is under way" in line
    assert states(project) == {}


def test_predicted_bytes_are_within_5_per_cent_of_the_file(project: Project) -> None:
    project.plant_items()
    users = {f"user-{number:05d}": [str(3 + number % 9)] * (200 + number % 150) for number in range(2000)}
    project.plant_lists(lists=users)
    project.plant_histories(users=list(users), likes={user: ["1"] for user in users})
    project.judge(override="ann: sizes only")
    project.publish()
    facts = versions.read_push(project.store, 1).facts
    assert facts["predicted_bytes"] == pytest.approx(facts["bytes"], rel=0.05)
    files = (project.settings.place("store") / "v000001").iterdir()
    assert sum(file.stat().st_size for file in files) == facts["bytes"]


def test_over_the_quota_nothing_is_pushed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.configure("keep = 3", "keep = 3\nquota_gb = 0.000001")
    project.plant_all().judge()
    code, line = stopped(project, capsys)
    assert code == 1
    assert "more than store.quota_gb = 1e-06; raise it, or lower slate.stored or store.keep" in line
    assert versions.read_push(project.store, 1).reason == "quota"


def test_while_a_version_is_pinned_a_night_publishes_nothing_and_says_so(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.plant_all().judge()
    project.publish()
    versions.pin(project.store, 1, "ann: prices are being checked")
    next_night(project)
    code, line = stopped(project, capsys, NEXT)
    assert code == 3
    assert "v000001 is pinned (ann: prices are being checked) and stays; `nightloom publish unpin` ends that" in line
    versions.unpin(project.store)
    project.publish(NEXT)
    assert states(project) == {1: PushState.BACKUP, 2: PushState.CURRENT}


def test_a_push_that_was_killed_while_loading_goes_on_with_its_version(project: Project) -> None:
    project.configure("keep = 3", 'keep = 3\nkind = "files"')
    project.plant_all().judge()
    night = project.night()
    with project.store.exclusive_lock():
        begun = publish._begin_push(night, project.store)
        lists = StoreRows(night.lake, D, night.reads, project.root)
        (batch,) = lists.batches("users", begun.version, begun.facts["moment"])
        project.store.begin_load(begun.version)
        project.store.load_part(begun.version, ("users", 0), batch)
    loaded = next((folder_of(project.settings.place("store")) / "v000001").glob("users-*.arrow"))
    before = loaded.stat().st_mtime_ns
    project.publish()
    assert states(project) == {1: PushState.CURRENT}
    assert loaded.stat().st_mtime_ns == before


def test_scores_read_back_as_they_were(project: Project) -> None:
    scores = [1.2345678e20, 0.1, -1e-7, -3.4e38]
    project.plant_all()
    project.plant_histories(users=["odd"])
    project.plant_lists(lists={"odd": ["3", "4", "5", "6"]}, only=["odd"], scores=scores)
    project.judge()
    project.publish()
    row = Reader(project.store).current().get("users", "odd")
    assert row is not None
    assert row["scores"] == pytest.approx(scores, rel=1e-7)
