"""Every page of the console over HTTP: what it shows, hostile names as text, and what a screen reader needs."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from shutil import copytree
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from nightloom.airflow import Airflow
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from nightloom.pages.html import TURNING, show_turning_signs
from serving import report
from serving.access.keys import Scope, add_key, make_key
from serving.console import action_log, charts, pages
from serving.console.nights import time_line
from serving.freshness import freshness
from tests.serving.console_shop import BAD_RECORD, HOSTILE, NEXT, SHOWN, THIRD, stage_run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving.conftest import Client, Project

NAME = quote(HOSTILE, safe="")
PATHS = {
    "/console": "/console",
    "/console/nights": "/console/nights",
    "/console/nights/{night}": f"/console/nights/{THIRD}",
    "/console/nights/{night}/log": f"/console/nights/{NEXT}/log?stage=serving.publish",
    "/console/models": "/console/models",
    "/console/users": f"/console/users?id={NAME}",
    "/console/items": f"/console/items?id={NAME}",
    "/console/publishes": "/console/publishes",
    "/console/data": "/console/data",
    "/console/data/quarantine": "/console/data/quarantine",
    "/console/actions": "/console/actions",
    "/console/actions/{name}": "/console/actions/ACTION",
}
"""A route's path -> an address of it."""
MORE = [f"/console/items?q={NAME}", "/console/items?q=film", "/console/users", "/console/users?id=u1&version=v000001"]
ELSEWHERE = {"/console/explain", "/console/reports/{name}", "/console/data-docs/{page:path}"}
"""Pages with tests of their own."""
NAMED = ["/console/models", "/console/items", "/console/users", "/console/data/quarantine", "/console/actions"]
"""Pages that show the hostile name."""


class Outline(HTMLParser):
    """What of a page the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def client(shop: Project) -> Client:
    return shop.client()


@pytest.fixture(scope="module")
def action(shop: Project) -> str:
    """An action with a hostile reason -> its id."""
    begun = action_log.begin(shop.night().lake, "block", HOSTILE, HOSTILE, HOSTILE)
    return action_log.end(shop.night().lake, begun, action_log.DONE, HOSTILE).action_id


def get(client: Client, path: str, action: str = "") -> str:
    answer = client.get(path.replace("ACTION", action))
    assert answer.status_code == (404 if path.endswith("log?stage=serving.publish") else 200), answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"
    return answer.text


def test_every_page_has_an_address_here() -> None:
    routes = {route.path for route in pages.routes()}
    assert routes - ELSEWHERE - pages.MOVED.keys() == PATHS.keys()


@pytest.mark.parametrize("path", [*PATHS.values(), *MORE])
def test_a_page_shows_hostile_names_as_text_and_is_fit_for_a_keyboard_and_a_screen_reader(
    path: str, client: Client, action: str
) -> None:
    text = get(client, path, action)
    assert "<script" not in text
    outline = Outline(text)
    values = [tag for tag, attributes in outline.tags if "\u202e" in "".join(map(str, attributes.values()))]
    assert set(values) <= {"input"}  # a form sends the name back as it is, and a record that is mended
    assert re.sub("<textarea.*?</textarea>", "", text, flags=re.DOTALL).count("\u202e") == len(values)
    assert outline.tags[outline.tags.index(("body", {})) + 1] == ("a", {"class": "skip", "href": "#content"})
    assert [main["id"] for main in outline.all("main")] == ["content"]
    assert len(outline.all("h1")) == 1
    assert [table for table in outline.all("th") if "scope" not in table] == []
    assert [image for image in outline.all("img") if "alt" not in image] == []
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_hostile_names_are_on_the_pages(client: Client, action: str) -> None:
    for path in NAMED:
        full = next(each for each in [*PATHS.values(), *MORE] if each.startswith(path))
        assert SHOWN in get(client, full, action), full


def test_an_explanation_and_the_report_of_a_night_show_hostile_names_as_text(client: Client, shop: Project) -> None:
    def body(night: Night) -> None:
        report.main(night)

    stranger = f"{HOSTILE}, whom nobody knows"
    run_stage(stages.REPORT, body, argv=["--date", str(NEXT), "--config", str(shop.root / "nightloom.toml")])
    shown = [client.explain(stranger, "2", page=True).body.decode(), get(client, f"/console/reports/{NEXT}")]
    for text in shown:
        assert "<script" not in text
        assert [sign for sign in map(chr, TURNING) if sign in text] == []
        assert SHOWN in text


def test_the_first_page_says_whether_the_lists_are_fresh_and_why_the_last_night_was_red(client: Client) -> None:
    text = get(client, "/console")
    assert "The night of 23 April 1998 stopped at a gate." in text
    assert f'href="/console/nights/{THIRD}"' in text
    assert "nights late" in text


def test_a_night_shows_its_gates_and_stages_and_what_can_be_done(client: Client) -> None:
    text = get(client, f"/console/nights/{THIRD}")
    assert "coverage: found 0.1111 (1 of 9 known users have a list)" in text
    assert "Override the slate gate" in text
    assert "Run the night again" in text
    assert "spark_jobs.gold_recommendations" in text
    assert "Override" not in get(client, f"/console/nights/{NEXT}")
    assert client.get("/console/nights/tonight").status_code == 404


def test_models_have_a_chart_and_each_challenger_its_figures(client: Client) -> None:
    text = get(client, "/console/models")
    assert "Champion is <b>version 2 (als)</b>" in text
    assert 'aria-label="ndcg@10 on the held-out days of each judged night: 3 nights, from 0.0800 to 0.1510"' in text
    assert "Promote version 3" in text
    assert "Promote version 2" not in text


def test_a_user_has_the_list_of_another_version_and_pictures(client: Client) -> None:
    text = get(client, f"/console/users?id={NAME}&version=v000001")
    assert "This is the list of v000001" in text
    assert '<img src="https://images.example/x.jpg" alt=""' in text
    assert client.get("/console/users?id=u1&version=v000009").status_code == 404


def test_an_item_shows_in_whose_lists_it_is(client: Client) -> None:
    text = get(client, f"/console/items?id={NAME}")
    assert "<b>2</b> of 9 lists have it" in text
    assert 'href="/console/users?id=u1"' in text
    assert "No item of the catalogue has this" in get(client, "/console/items?q=%25")
    assert "12 found" in get(client, "/console/items?q=FILM")


def test_a_key_without_the_scope_personal_sees_no_people(tmp_path: Path, shop: Project) -> None:
    keys = {scope: make_key(str(scope), [scope], 1e4, 10_000) for scope in Scope}
    copied = replace(shop, root=copytree(shop.root, tmp_path / "copy"))
    for new in keys.values():
        add_key(copied.root / "data" / "access", new.key)
    client = copied.client()
    admin = {"authorization": f"Bearer {keys[Scope.ADMIN].text}"}
    item = client.get(f"/console/items?id={NAME}", **admin).text
    assert "<b>2</b> of 9 lists have it" in item
    assert "/console/users?id=u1" not in item
    records = client.get("/console/data/quarantine", **admin).text
    assert "ratnig" not in records
    assert "Replay it as it is" in records
    people = {"authorization": f"Bearer {keys[Scope.PERSONAL].text}"}
    assert client.get("/console/users?id=u1", **people).status_code == 200
    assert client.get("/console/items?id=3", **people).status_code == 403


def test_a_record_can_be_mended_on_its_page(client: Client) -> None:
    row_id = hashlib.sha256(json.dumps(BAD_RECORD).encode()).hexdigest()
    text = get(client, f"/console/data/quarantine?row={row_id}")
    assert "ratnig" in text
    fields = {field["name"]: field.get("value") for field in Outline(text).all("input") if "name" in field}
    assert fields["row"] == row_id
    assert [area["name"] for area in Outline(text).all("textarea")] == ["raw"]


@pytest.mark.parametrize(
    ("moment", "night", "target", "late"),
    [
        ("2026-03-15T05:59", "2026-03-13", date(2026, 3, 13), 0),
        ("2026-03-15T06:01", "2026-03-13", date(2026, 3, 14), 1),
        ("2026-03-15T06:01", "2026-03-14", date(2026, 3, 14), 0),
        ("2026-03-15T01:00", "2026-03-14", date(2026, 3, 13), 0),
        ("2026-03-18T12:00", "2026-03-14", date(2026, 3, 17), 3),
    ],
)
def test_a_night_is_due_four_hours_after_its_start(moment: str, night: str, target: date, late: int) -> None:
    found = freshness(Airflow(), {"night": night}, datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert (found.target, found.nights_late) == (target, late)


def test_a_night_is_due_at_its_deadline_in_its_own_time_zone() -> None:
    settings = Airflow(nightly="30 3 * * *", timezone="America/New_York", deadline_minutes=60)
    found = freshness(settings, None, datetime(2026, 3, 15, 8, 31, tzinfo=UTC))
    assert (found.target, found.due_at, found.nights_late) == (
        date(2026, 3, 14), datetime(2026, 3, 15, 8, 30, tzinfo=UTC), None,
    )  # fmt: skip


def test_bars_and_lines_keep_within_their_area() -> None:
    drawn = charts.bars([("a", 0.0, ""), ("b", 5.0, "bad"), ("c", 10.0, "")])
    assert [(bar.y, bar.height) for bar in drawn.bars] == [(120, 0), (60, 60), (0, 120)]
    assert charts.bars([]).bars == ()
    made = charts.lines(["a", "b", "c"], {"up": [1.0, None, 3.0], "none": [None, None, None]})
    assert [(line.name, line.points, line.last) for line in made.lines] == [("up", "0.0,120.0 640.0,0.0", 3.0)]
    assert [line.points for line in charts.lines(["a"], {"one": [2.0]}).lines] == ["320.0,60.0"]


def test_stages_stand_on_a_time_line() -> None:
    at = datetime(2026, 3, 15, 2, tzinfo=UTC)
    first = stage_run(stages.BRONZE, NEXT, at, 30)
    second = stage_run(stages.PUBLISH, NEXT, first.ended_at, 10)
    assert [(each.left, each.width) for each in time_line([first, second])] == [(0, 75), (75, 25)]
    assert time_line([]) == []


def test_signs_that_turn_a_text_are_shown() -> None:
    turned: list[Any] = ["a\u202eb\u2066", "שלום", 3, None]
    assert [show_turning_signs(each) for each in turned] == ["a\\u202eb\\u2066", "שלום", 3, None]
