"""Live lists: equal to those of the next night for the same events, for the users who acted and for nobody else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from models.als import ALS, ALSParams
from models.base import Examples, Histories, no_report
from models.registry import RegisteredVersion
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, USERS
from nightloom.lake.described_items import compile_slate
from serving.history import read_profile
from serving.live.files import FACT, live_place
from serving.replay import replay_list
from tests.serving.conftest import CONFIG, ITEM_IDS, Client, D, Project, moment
from tests.serving.conftest import USERS as USER_IDS
from tests.serving.event_senders import FED, event

NEXT = D + timedelta(days=1)
RULES = """
[[slate.filters]]
name = "no_four"
when = "item_id <> '4'"

[[slate.caps]]
name = "two_of_the_last"
when = "item_id IN ('9', '10', '11', '12')"
within = "list"
at_most = 2

[[slate.pins]]
name = "hero"
item = "12"
place = 2

[serving]
live = true
"""
AT = f"{NEXT}T10:00:00Z"


@dataclass(frozen=True)
class Live:
    project: Project
    client: Client

    def ask(self, user: str, query: str = "?k=4") -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/users/{user}/recommendations{query}").json()
        return found

    def act(self, id: str, user: str, item: str, at: str = AT, **fields: Any) -> None:
        sent = event(id, u=user, i=item, t=at, **fields)
        assert self.client.request("POST", "/v1/events", json=sent).status_code == 202

    def assert_is_of_the_next_night(self, found: dict[str, Any]) -> None:
        """The list is the one that the night's code makes of all histories."""
        lake, settings = self.project.night().lake, self.project.settings
        reads = {table.full_name: lake.version(table) for table in (HISTORIES, ITEMS, ITEM_STATS, USERS)}
        who = read_profile(lake, found["user"], str(NEXT), reads)
        plan = compile_slate(lake, settings, NEXT, reads[ITEMS.full_name], reads[ITEM_STATS.full_name])
        expected = replay_list(settings, models.load(self.project.root / "model"), plan, who)
        assert ids(found) == expected.items()
        assert [item["score"] for item in found["items"]] == pytest.approx(expected.scores(), rel=1e-5)

    def build_history(self, user: str, day: date, *items: str) -> None:
        """What the next night's stages make of a user's new events of a day."""
        row = {
            "week": HISTORIES.period_of(day), "user_id": user, "items": list(items), "weights": [1.0] * len(items),
            "at": [moment(day)] * len(items), "event_ids": [f"{user}-{item}-again" for item in items],
        }  # fmt: skip
        self.project.night().lake.append(HISTORIES, [row])


def config() -> str:
    text = CONFIG.replace("[store]", f"{RULES}\n[store]")
    lines = text.splitlines(keepends=True)
    return "".join(FED if line.startswith("fields") else line for line in lines if not line.startswith("columns"))


def fitted(likes: dict[str, list[str]], folder: Path) -> RegisteredVersion:
    """A model of these likes, as the registry gives it: MLflow's database alone takes ten seconds."""
    ids, users = np.sort(np.array(ITEM_IDS)), list(likes.values())
    histories = Histories.from_lists(
        ids, users, [[1.0] * len(each) for each in users], [[0] * len(each) for each in users]
    )
    ALS.fit(Examples(ids, histories, 1, seed=1), ALSParams(factors=4, sweeps=3), no_report).save(folder)
    return RegisteredVersion("1", "als", folder, {})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A night whose lists are published, with what scores its users."""
    root = tmp_path_factory.mktemp("shop")
    (root / "nightloom.toml").write_text(config(), encoding="utf8")
    project, likes = Project(root), {f"u{number}": ITEM_IDS[:number] for number in range(1, 13)}
    project.plant_items(unavailable=("7",))
    project.plant_histories(likes=likes)
    row = {"attributes": [("city", "Ulm")], "updated_at": moment(D), "row_id": "r", "night": D}
    project.night().lake.append(USERS, [row | {"user_id": "u1"}, row | {"user_id": "without history"}])
    project.plant_lists(lists={user: ITEM_IDS[8:] for user in USER_IDS}, model_version="1")
    project.plant_similar()
    project.judge(override="ann: short lists")
    version = fitted(likes, root / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.live.files.find_version", lambda settings, number: version)
        project.publish()
    return project


@pytest.fixture(scope="module")
def live(published: Project) -> Live:
    client = published.client()
    client.app.state.live.load(client.app.state.lists.snapshots())
    return Live(published, client)


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_user_without_new_events_has_the_nights_list_and_others_are_not_touched(live: Live) -> None:
    before = live.ask("u3")
    assert (before["source"], ids(before)) == ("personal", ["9", "10", "11", "12"])
    live.act("other", "u4", "9")
    assert live.ask("u4")["source"] == "live"
    after = live.ask("u3")
    assert {name: after[name] for name in after if name != "age_seconds"} == {
        name: before[name] for name in before if name != "age_seconds"
    }


@pytest.mark.parametrize("user", ["u2", "u5", "new", "without history"])
def test_the_list_is_the_one_that_the_next_night_makes_from_the_same_events(live: Live, user: str) -> None:
    assert live.ask(user)["source"] in ("personal", "popular")
    live.act(f"{user} b", user, "9", f"{NEXT}T12:00:05.5Z")
    live.act(f"{user} a", user, "1", f"{NEXT}T12:00:05Z")
    found = live.ask(user)
    assert (found["source"], found["model_version"], found["stale"]) == ("live", "1", False)
    assert found["age_seconds"] < 60
    live.build_history(user, NEXT, "1", "9")
    live.assert_is_of_the_next_night(found)
    assert {"1", "4", "7", "9"}.isdisjoint(ids(found))


def test_the_etag_changes_with_each_event_and_stays_without_one(live: Live) -> None:
    path, tags = "/v1/users/u6/recommendations", []
    for item in ("9", "10"):
        live.act(f"tag {item}", "u6", item)
        tags.append(live.client.get(path).headers["etag"])
        assert live.client.get(path, if_none_match=tags[-1]).status_code == 304
    assert len(set(tags)) == 2


def test_pages_are_of_one_live_list_and_end_with_the_next_event(live: Live) -> None:
    live.act("page 1", "pager", "2")
    whole, first = ids(live.ask("pager")), live.ask("pager", "?k=2")
    second = live.ask("pager", f"?k=2&page={first['next']}")
    assert ids(first) + ids(second) == whole
    live.act("page 2", "pager", "3")
    gone = live.client.get(f"/v1/users/pager/recommendations?k=2&page={first['next']}")
    assert gone.json()["error"]["code"] == "page_expired"


def test_late_events_count_once_and_those_that_the_night_refuses_do_not(live: Live) -> None:
    live.act(
        "known", "u8", "2", moment(D).isoformat()
    )  # the night has it: another item at that moment is another event
    live.act("too late", "u8", "3", f"{D - timedelta(days=8)}T10:00:00Z")
    assert live.ask("u8")["source"] == "personal"
    live.act("late", "u8", "10", f"{D}T01:00:00Z")
    found = live.ask("u8")
    assert found["source"] == "live"
    live.build_history("u8", D, "10")
    live.assert_is_of_the_next_night(found)


def test_exclusions_and_filters_apply_and_popular_lists_fill_up(live: Live) -> None:
    live.act("exclude", "filter", "2")
    whole = live.ask("filter")
    rest = live.ask("filter", f"?k=4&exclude={ids(whole)[0]}")
    assert ids(rest)[:3] == ids(whole)[1:]
    assert rest["source"] == "live"
    assert live.ask("filter", "?category=Comedy")["items"] == []


def test_without_its_files_a_version_serves_the_nights_lists(
    published: Project, caplog: pytest.LogCaptureFixture
) -> None:
    client = published.client()
    sent = event("no files", u="u7", i="9", t=AT)
    assert client.request("POST", "/v1/events", json=sent).status_code == 202
    found = client.get("/v1/users/u7/recommendations").json()
    assert (found["source"], ids(found)) == ("personal", ["10", "11", "12"])  # not loaded yet
    (name,) = {snapshot.meta[FACT] for snapshot in client.app.state.lists.snapshots()}
    files = Path(str(live_place(published.settings) / name))
    files.rename(files.with_name("away"))
    try:
        for _ in range(2):
            client.app.state.live.load(client.app.state.lists.snapshots())
        assert client.get("/v1/users/u7/recommendations").json()["source"] == "personal"
    finally:
        files.with_name("away").rename(files)
    assert len([record for record in caplog.records if name in record.message]) == 1


def test_while_the_scorer_is_busy_a_user_gets_the_nights_list(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.live.lists.WAIT_SECONDS", 0.01)
    live.act("busy", "u1", "9")
    with live.client.app.state.live._scoring:
        assert live.ask("u1")["source"] == "personal"
    assert live.ask("u1")["source"] == "live"


def test_a_server_without_live_lists_imports_nothing_for_them_and_publishes_no_histories(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    client = project.client()
    assert client.app.state.live is None
    (snapshot,) = client.app.state.lists.snapshots()
    assert (snapshot.get("histories", "u1"), FACT in snapshot.meta) == (None, False)
    assert not Path(str(live_place(project.settings))).exists()
