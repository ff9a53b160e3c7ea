"""Every action of the console over HTTP: what it does, who may do it, and that it is recorded with who and why."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from nightloom.cli import nightloom
from nightloom.contracts import BRONZE_EVENTS, QUARANTINE_ROWS
from nightloom.night.gates import OverrideError, override_gate
from nightloom.night.records import gate_results
from serving.access.keys import Scope, add_key, make_key
from serving.console import action_log, processes
from serving.console.action_log import LoggedAction
from serving.console.actions import ACTIONS, Form, FormError, parse_form
from serving.stores import overlay, versions
from serving.stores.pushes import PINNED
from tests.serving.conftest import CONFIG, Client, Project
from tests.serving.console_shop import HOSTILE, MENDED_RECORD, NEXT, THIRD, path_of, plant_bad_record

SECONDS = 120.0
FIELDS = {"version": "v000002", "item": "3", "night": "1998-04-22", "gate": "slate", "row": "0" * 64}
FORMS = {
    "rollback": ["version"], "pin": ["version"], "unpin": ["version"], "block": ["item"], "unblock": ["item"],
    "stock-out": ["item"], "stock-in": ["item"], "promote": ["version"], "demote": ["version"], "replay": ["row"],
    "discard": ["row"], "night": ["night"], "override": ["night", "gate"],
}  # fmt: skip
"""Action -> the fields of its form."""


@pytest.fixture(scope="module")
def client(shop: Project) -> Client:
    return shop.client()


def act(client: Client, name: str, why: str = "a test", **fields: str) -> httpx.Response:
    return client.request("POST", f"/console/actions/{name}", data=fields | {"why": why})


def last(shop: Project) -> LoggedAction:
    return action_log.last_actions(shop.night().lake, 1)[0]


def follow(client: Client, answer: httpx.Response) -> str:
    """The page that an action leads to."""
    assert answer.status_code == 303, answer.text
    page = client.get(answer.headers["location"])
    assert page.status_code == 200
    return page.text


def test_every_action_has_a_form_in_these_tests() -> None:
    assert FORMS.keys() == ACTIONS.keys()


@pytest.mark.parametrize("name", FORMS)
def test_an_action_without_a_field_or_a_reason_does_nothing(name: str, client: Client, shop: Project) -> None:
    before = action_log.last_actions(shop.night().lake, 100)
    whole = {field: FIELDS[field] for field in FORMS[name]}
    for why in ("", " ", "two\nlines", "x" * 501, "turned \u202e"):
        answer = act(client, name, why, **whole)
        assert (answer.status_code, "as the reason" in answer.text) == (400, True)
    for field in whole:
        answer = act(client, name, **{each: value for each, value in whole.items() if each != field})
        assert answer.status_code == 400
        assert "the form has no" in answer.text
    assert action_log.last_actions(shop.night().lake, 100) == before


def test_a_form_that_is_none_is_refused(client: Client) -> None:
    assert client.request("POST", "/console/actions/block", content=b"&".join([b"a=1"] * 50)).status_code == 400
    assert act(client, "explode").status_code == 404
    assert act(client, "night", night="yesterday").status_code == 400
    assert act(client, "override", night="1998-04-22", gate="marts").status_code == 400
    assert act(client, "rollback", version="2").status_code == 400


def test_a_rollback_is_of_the_version_that_the_person_saw(client: Client, shop: Project) -> None:
    text = follow(client, act(client, "rollback", "wrong prices", version="v000002"))
    assert "v000002 is ROLLED_BACK; v000001 is served." in text
    assert versions.current_version(shop.store) == 1
    assert versions.read_push(shop.store, 2).note == "no key: wrong prices"
    done = last(shop)
    assert (done.action, done.subject, done.by, done.why, done.status) == (
        "rollback", "v000002", "no key", "wrong prices", "done",
    )  # fmt: skip
    again = act(client, "rollback", "twice clicked", version="v000002")
    assert again.status_code == 409
    assert "v000001 is served now, not v000002" in again.text
    assert (last(shop).status, versions.current_version(shop.store)) == ("failed", 1)


def test_a_version_is_pinned_and_unpinned(client: Client, shop: Project) -> None:
    refused = act(client, "pin", version="v000002")
    assert (refused.status_code, "was rolled back" in refused.text) == (409, True)
    text = follow(client, act(client, "pin", "it was right", version="v000002", override="yes"))
    assert "v000002 is served, the night of 1998-04-22" in text
    assert shop.store.read_note(PINNED) == "v000002 no key: it was right"
    assert "overridden: no key: it was right" in str(versions.read_push(shop.store, 2).note)
    assert "Nothing is pinned" in follow(client, act(client, "unpin", version="v000002"))
    assert shop.store.read_note(PINNED) is None
    assert act(client, "unpin", version="v000002").status_code == 409


def test_an_item_is_blocked_and_out_of_stock_and_comes_back(client: Client, shop: Project) -> None:
    text = follow(client, act(client, "block", "recalled", item=HOSTILE))
    assert "no key: recalled" in text
    assert overlay.read(shop.store).blocked[HOSTILE].why == "no key: recalled"
    follow(client, act(client, "stock-out", "sold", item=HOSTILE))
    assert overlay.read(shop.store).hidden == {HOSTILE}
    time.sleep(0.6)  # readers look at the overlay twice a second
    shown = client.get("/v1/users/u1/recommendations?k=3").json()
    assert HOSTILE not in [item["item_id"] for item in shown["items"]]
    follow(client, act(client, "unblock", "mended", item=HOSTILE))
    follow(client, act(client, "stock-in", "new ones", item=HOSTILE))
    assert overlay.read(shop.store).hidden == frozenset()
    assert "was not blocked" in follow(client, act(client, "unblock", item=HOSTILE))


def wait(client: Client, answer: httpx.Response, shop: Project) -> LoggedAction:
    """The action of a command, when it has ended."""
    assert answer.status_code == 303, answer.text
    path = path_of(answer.headers["location"])
    deadline = time.monotonic() + SECONDS
    while (found := last(shop)).status == action_log.STARTED:
        page = client.get(path)
        assert page.status_code == 200
        assert time.monotonic() < deadline, page.text
        time.sleep(0.3)
    assert found.action_id == path.rpartition("/")[2]
    return found


def test_a_record_in_quarantine_is_mended_and_replayed_by_the_command(client: Client, shop: Project) -> None:
    lake = shop.night().lake
    row_id = plant_bad_record(shop, '{"u": "u2", "e": "ratnig"}', "event is 'ratnig'")
    mended = json.dumps(MENDED_RECORD) + "\n"
    answer = act(client, "replay", "a slip", row=row_id, raw=mended)
    ended = wait(client, answer, shop)
    assert (ended.status, ended.subject) == ("done", f"record {row_id[:12]}")
    assert "1 rows went in again, 1 of them mended" in str(ended.outcome)
    (row,) = lake.rows(QUARANTINE_ROWS, f"row_id = '{row_id}'").to_pylist()
    assert (row["state"], row["decided_by"]) == ("replayed", "no key: a slip")
    (again,) = lake.rows(BRONZE_EVENTS, f"row_id = '{row['replayed_as']}'").to_pylist()
    assert json.loads(again["raw"]) == MENDED_RECORD
    text = client.get(path_of(answer.headers["location"])).text
    assert "1 rows went in again" in text
    assert "at work" not in text
    assert [file.suffix for file in processes.folder(shop.settings).iterdir() if file.suffix == ".jsonl"] == []


def test_a_command_that_fails_says_why(client: Client, shop: Project) -> None:
    ended = wait(client, act(client, "discard", "noise", row="f" * 64), shop)
    assert ended.status == "failed"
    assert "no waiting row fits" in str(ended.outcome)


def test_an_action_whose_process_was_killed_has_no_known_end(client: Client, shop: Project) -> None:
    begun = action_log.begin(shop.night().lake, "night", "1998-04-22", "ann", "why not")
    text = client.get(f"/console/actions/{begun.action_id}").text
    assert "no end is known" in text
    assert "left no word of its end" in text
    assert client.get("/console/actions/nothing").status_code == 404


def test_an_action_that_cannot_be_recorded_is_not_done(tmp_path: Path) -> None:
    project = make_empty(tmp_path)
    (tmp_path / "data" / "lake" / "ops").parent.mkdir(parents=True)
    (tmp_path / "data" / "lake" / "ops").write_text("no folder", encoding="utf8")
    answer = act(project.client(), "block", item="3")
    assert answer.status_code == 503
    assert "it cannot be recorded, so it was not done" in answer.text
    assert overlay.read(project.store).hidden == frozenset()


def make_empty(root: Path) -> Project:
    (root / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    return Project(root)


def form(settings: Any, **fields: str) -> Form:
    return Form(settings, "-ann", "--why", fields)


def test_commands_take_every_text_as_a_value(tmp_path: Path) -> None:
    settings, file = make_empty(tmp_path).settings, tmp_path / "input.jsonl"
    signed = ["--by=-ann", "--why=--why"]
    words = {
        "promote": (form(settings, version="-3"), ["model", "promote", *signed, "--", "-3"]),
        "demote": (form(settings, version="3"), ["model", "demote", *signed]),
        "replay": (
            form(settings, source="-s", reason="-r"), ["quarantine", "replay", *signed, "--source=-s", "--reason=-r"],
        ),
        "discard": (form(settings, row="-1"), ["quarantine", "discard", *signed, "--row=-1"]),
        "night": (form(settings, night="1998-04-22"), ["night", "--date=1998-04-22"]),
        "override": (
            form(settings, night="1998-04-22", gate="slate"),
            ["night", "--date=1998-04-22", "--override", "slate", "-ann: --why"],
        ),
    }  # fmt: skip
    for name, (given, expected) in words.items():
        command = ACTIONS[name].command
        assert command is not None
        assert command(given, file) == expected
    assert words.keys() == {name for name, action in ACTIONS.items() if action.command}


def test_the_night_command_overrides_a_closed_gate_and_no_other(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = shop.night().lake
    with pytest.raises(OverrideError, match="the slate gate is open for 1998-04-22"):
        override_gate(lake, "slate", NEXT, "ann: no reason")
    with pytest.raises(OverrideError, match="the data gate was not asked"):
        override_gate(lake, "data", THIRD, "ann: no reason")
    words = ["--config", str(shop.settings.file), "night", f"--date={NEXT}", "--override", "slate", "-ann: --no reason"]
    monkeypatch.setenv("NIGHTLOOM_CONFIG", "")  # the command sets it; monkeypatch restores it
    assert "the slate gate is open" in str(CliRunner().invoke(nightloom, words).exception)
    assert gate_results(lake, THIRD)["slate"].state == "closed"
    override_gate(lake, "slate", THIRD, "ann: a small day")
    assert gate_results(lake, THIRD)["slate"].override == "ann: a small day"
    shop.judge(THIRD)  # the gate is asked again and finds the same
    assert gate_results(lake, THIRD)["slate"].override == "ann: a small day"
    shop.plant_lists(THIRD, only=["u2"])
    with pytest.raises(SystemExit):
        shop.judge(THIRD)  # now it finds something else


def test_keys_decide_who_acts_and_sign_the_action(tmp_path: Path) -> None:
    project = make_empty(tmp_path)
    made = {scope: make_key(f"only {scope}", [scope], 1e4, 10_000) for scope in Scope}
    for new in made.values():
        add_key(tmp_path / "data" / "access", new.key)
    client = project.client()
    for name, fields in FORMS.items():
        data = {field: FIELDS[field] for field in fields} | {"why": "a test"}
        for scope in set(Scope) - {Scope.ADMIN}:
            headers = {"Authorization": f"Bearer {made[scope].text}"}
            assert client.request("POST", f"/console/actions/{name}", data=data, headers=headers).status_code == 403
        assert client.request("POST", f"/console/actions/{name}", data=data).status_code == 401
    session = sign_in(client, made[Scope.ADMIN].text)
    path, data = "/console/actions/block", {"item": "3", "why": "a test"}
    for site in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
        assert client.request("POST", path, data=data, headers=session | site).status_code == 403
    assert overlay.read(project.store).hidden == frozenset()
    here = session | {"Sec-Fetch-Site": "same-origin"}
    assert client.request("POST", path, data=data, headers=here).status_code == 303
    assert overlay.read(project.store).blocked["3"].why == "only admin: a test"
    assert action_log.last_actions(project.night().lake, 1)[0].by == "only admin"


def sign_in(client: Client, key: str) -> dict[str, str]:
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = client.request("POST", "/sign-in", data={"key": key}, headers=headers)
    assert answer.headers["location"] == "/console"
    return {"Cookie": answer.headers["set-cookie"].split(";")[0]}


def test_a_field_may_have_any_text_and_a_reason_is_one_line(tmp_path: Path) -> None:
    settings = make_empty(tmp_path).settings
    found = parse_form(b"raw=%7B%0D%0A%7D&why=+so+&item=%E2%80%AE%26", settings, "ann")
    assert (found.fields["raw"], found.why, found.fields["item"]) == ("{\n}", "so", "\u202e&")
    with pytest.raises(FormError, match="found 0 characters as the reason"):
        parse_form(b"item=3", settings, "ann")
