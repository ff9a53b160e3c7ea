"""Items that a user acted on since the night leave their lists, in each worker of the machine, and no one else's."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from nightloom import event_journal
from nightloom.event_journal import Event, Journal, export_journal, journal_file
from serving.events.interactions import Interaction
from tests.serving.event_senders import FED, config_text, event
from tests.serving.test_event_contract import contract

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving.conftest import Client, Project

LIST = "/v1/users/u1/recommendations"
OWN = ["3", "4", "5", "6"]


@pytest.fixture
def project(project: Project) -> Project:
    """A published night, and a source that the API feeds; of its events `hint` is skipped by a rule."""
    file = project.root / "nightloom.toml"
    lines = file.read_text(encoding="utf8").splitlines(keepends=True)
    fed = FED + 'rules = [{ name = "hint", when = "e = \'hint\'", then = "skip" }]\n'
    kept = [fed if line.startswith("fields") else line for line in lines if not line.startswith("columns")]
    file.write_text("".join(kept), encoding="utf8")
    project.plant_all().judge()
    project.publish()
    return project


def post(client: Client, *events: dict[str, Any]) -> None:
    assert client.request("POST", "/v1/events", json=list(events)).status_code == 202


def ids(client: Client, path: str = LIST) -> list[str]:
    return [item["item_id"] for item in client.get(path).json()["items"]]


def test_an_item_that_a_user_acted_on_leaves_their_list_at_once_and_no_other(project: Project) -> None:
    client = project.client()
    assert ids(client) == ["3", "4", "5"]
    etag = client.get(LIST).headers["etag"]
    first = client.get(f"{LIST}?k=2").json()
    post(client, event("a", i="4"), event("b", i="6", v=1.0), event("c", i="3", u="u2"))
    assert ids(client) == ["3", "5", "1"]  # the popular list fills it
    assert client.get(LIST, if_none_match=etag).status_code == 200
    assert ids(client, f"{LIST}?k=2&page={first['next']}") == ["5", "1"]  # no page repeats an item
    batch = client.request("POST", "/v1/recommendations", json={"users": ["u1", "u3", "u2"]}).json()
    assert [[item["item_id"] for item in each["items"]] for each in batch["lists"]] == [
        ["3", "5", "1"], ["5", "6", "7"], ["4", "5", "6"],
    ]  # fmt: skip
    assert ids(client, "/v1/users/u3/recommendations") == ["5", "6", "7"]


def test_a_new_user_acts_and_a_skipped_event_changes_nothing(project: Project) -> None:
    client = project.client()
    post(client, event("a", u="new", i="1"), event("b", u="new", i="2", e="hint"))
    assert ids(client, "/v1/users/new/recommendations") == ["2", "3", "4"]


def test_other_workers_of_the_machine_know_it_and_so_does_a_restarted_one(project: Project) -> None:
    one, other = project.client(), project.client()
    post(one, event("a", i="3"))
    other.app.state.intake.recent.look()
    assert ids(other) == ids(one) == ["4", "5", "6"]
    restarted = project.client()
    restarted.app.state.intake.recent.look()
    assert ids(restarted) == ["4", "5", "6"]


def test_events_stay_until_a_night_may_have_them_and_are_forgotten_after_that(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = project.client()
    post(client, event("a", i="3"))
    export_journal(project.settings)
    monkeypatch.setattr(event_journal, "KNOWN_SECONDS", -1.0)
    intake = client.app.state.intake
    intake._export()  # the night that is served is of 1998: the event is of none
    assert ids(client) == ["4", "5", "6"]
    intake._needed_since = lambda: time.time() + 1  # a night is served that has it
    intake._export()
    assert client.app.state.intake.recent.look() is None
    restarted = project.client()
    restarted.app.state.intake.recent.look()
    assert ids(restarted) == ["3", "4", "5"]


def test_a_journal_of_an_earlier_version_gets_the_column(tmp_path: Path) -> None:
    file = tmp_path / "events.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(event_journal.SCHEMA.replace(", user TEXT", ""))
        database.execute("INSERT INTO events (id, source, at, record) VALUES (x'00', 's', 1.0, '{}')")
        database.commit()
    with closing(Journal(file)) as journal:
        journal.add([Event("s", "b", "{}", "u1")])
        assert journal.numbers() == (1, 2)
        assert journal.users_since(0, 9) == [(1, None), (2, "u1")]
        assert [each.record for each in journal.of_user("u1")] == ["{}"]


def test_a_damaged_journal_is_logged_once_and_lists_go_on(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    client = project.client()
    file = journal_file(project.settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"no database at all, but longer than a page's head" * 100)
    for _ in range(2):
        client.app.state.intake.recent.look()
    assert ids(client) == ["3", "4", "5"]
    assert [record.message for record in caplog.records if "move no list" in record.message] == [
        f"today's events move no list: the journal of events {file}: file is not a database; mend that and run it "
        "again, no event is lost"
    ]


WEIGHED = """weight = 2.0
valid = [1, 5]
min_value = 3.0

[[signals]]
event = "click"
"""


def test_an_event_has_the_moment_and_the_weight_that_the_night_gives_it(tmp_path: Path) -> None:
    text = config_text().replace('event = "rating"\n', f'event = "rating"\n{WEIGHED}')
    of = contract(tmp_path, text)
    found = [of.read(event(str(number), v=number)) for number in range(1, 6)]
    clicked = of.read(event("c", e="click", i="i9", t="1970-01-02T01:00:00.000001+01:00"))
    assert all(isinstance(each, Event) and each.user == "u1" for each in [*found, clicked])
    read = [of.interactions.read(each.record) for each in [*found, clicked] if isinstance(each, Event)]
    assert [each and each.weight for each in read] == [0.0, 0.0, 2.0, 2.0, 2.0, 1.0]
    assert read[-1] == Interaction(86_400_000_001, "c", "i9", 1.0)
    assert read[-1].day == date(1970, 1, 2)
    assert of.interactions.read(json.dumps({"id": "of another time"})) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('item_id = "i"', 'item_id = "upper(i)"'),
        ('value = "v"', 'value = "v * 2"'),
        ('fields.v = "double"', 'fields.v = "string"'),
        ('fields.t = "timestamp"', 'fields.t = "date"'),
        ("columns = {", 'rules = [{ name = "far", when = "pos > 9", then = "skip" }]\ncolumns = {'),
    ],
)
def test_what_a_spark_expression_makes_of_events_only_the_night_can_tell(tmp_path: Path, old: str, new: str) -> None:
    of = contract(tmp_path, config_text().replace(old, new))
    day = {"t": "2024-03-14"} if "date" in new else {}
    value = {"v": "5"} if '"string"' in new else {}
    found = of.read(event("a", **day, **value))
    assert isinstance(found, Event), found
    assert (found.user, of.interactions.can_read) == (None, False)
