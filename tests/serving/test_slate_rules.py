"""slate_checks.py, slate_served.py, slate_page.py: gate 3 finds broken rules, changes, loss; its page shows it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from nightloom.contracts import ITEMS, SLATE_RULES, USERS
from nightloom.night import stages
from serving import slate_page
from serving.slate_checks import lists_database, slate_checks
from tests.serving.conftest import CONFIG, D, moment

if TYPE_CHECKING:
    from tests.serving.conftest import Project

NEXT = date(1998, 4, 22)
SOURCES = """
[[sources]]
name = "films"
kind = "items"
path = "landing"
format = "json"
fields = { i = "string", year = "int", m = "string" }
columns = { item_id = "i" }
attributes = { year = "year", markets = "m" }

[[sources]]
name = "people"
kind = "users"
path = "landing"
format = "json"
fields = { u = "string", m = "string", a = "string" }
columns = { user_id = "u" }
attributes = { market = "m", age = "a" }

[[signals]]"""
RULES = {
    "filter": '[[slate.filters]]\nname = "new"\nwhen = "year > 1990"\n',
    "market": '[[slate.filters]]\nname = "market"\nitem = "markets"\nuser = "market"\n',
    "cap": '[[slate.caps]]\nname = "category"\nby = "category"\nat_most = 2\n',
    "list": '[[slate.caps]]\nname = "one"\nwhen = "year < 1992"\nat_most = 1\nwithin = "list"\n',
    "floor": '[[slate.floors]]\nname = "fresh"\nwhen = "year > 1990"\nat_least = 3\n',
    "pin": '[[slate.pins]]\nname = "hero"\nitem = "12"\nplace = 2\nusers = { market = "DE" }\n',
    "quote": '[[slate.pins]]\nname = "odd"\nitem = "o\'clock"\nplace = 2\nusers = { market = "l\'Est" }\n',
}


def failed_checks(project: Project, *rules: str, attributes: dict[str, dict[str, str]] | None = None) -> dict[str, str]:
    """Checks that fail for the lists of `planted()` under these rules; `attributes`: item -> attributes."""
    text = CONFIG.replace("[[signals]]", SOURCES, 1).replace(
        "[store]", "".join(RULES[name] for name in rules) + "[store]"
    )
    (project.root / "nightloom.toml").write_text(text, encoding="utf8")
    lake = project.night().lake
    rows = []
    row = {"title": "t", "categories": ["Drama"], "available": True, "updated_at": moment(D), "row_id": "r", "night": D}
    for item in (str(number) for number in range(1, 13)):
        described = {"year": "1995"} | (attributes or {}).get(item, {})
        rows.append(row | {"item_id": item, "attributes": list(described.items())})
    lake.append(ITEMS, rows)
    people = {"updated_at": moment(D), "row_id": "r", "night": D, "attributes": [("market", "DE")]}
    lake.append(USERS, [people | {"user_id": f"u{n}"} for n in (1, 2)])
    project.plant_histories()
    project.plant_lists()
    return {name: check.observed for name, check in project.checks().items() if not check.passed}


def test_lists_that_keep_the_rules_pass(project: Project) -> None:
    assert failed_checks(project, "filter", "market", "list") == {}
    assert {"rule_new", "rule_market", "rule_one"} <= project.checks().keys()


def test_an_entry_that_a_filter_hides_closes_the_gate(project: Project) -> None:
    # Item 12 stands in the lists of u7 and u8; nothing of the popular list is old.
    assert failed_checks(project, "filter", attributes={"12": {"year": "1980"}}) == {
        "rule_new": "2 entries that it hides"
    }


def test_an_entry_that_is_not_for_the_users_market_closes_the_gate(project: Project) -> None:
    found = failed_checks(project, "market", attributes={"4": {"markets": "DE, AT"}, "12": {"markets": "AT"}})
    # u1 and u2 may see 4, a stranger of the popular list may not; 12 is for none of those who have it.
    assert found == {"rule_market": "3 entries that it hides"}


def test_pages_and_lists_over_a_cap_close_the_gate(project: Project) -> None:
    # A page of three has three dramas, the fourth place is on the next one; 3 and 4 are both in u1's list alone.
    found = failed_checks(project, "cap", "list", attributes={"3": {"year": "1990"}, "4": {"year": "1990"}})
    assert found == {"rule_category": "8 pages or lists over the cap", "rule_one": "1 pages or lists over the cap"}


def test_pages_that_lack_a_kept_place_warn(project: Project) -> None:
    found = failed_checks(project, "floor", attributes={"4": {"year": "1980"}})
    check = project.checks()["places"]
    assert (found["places"], check.severity) == ("0.2500 of first pages lack a place (fresh 2 of 8)", "warn")


def test_a_pinned_item_that_is_not_at_its_place_warns_for_those_it_is_for(project: Project) -> None:
    assert failed_checks(project, "pin")["places"] == "1.0000 of first pages lack a place (hero 2 of 2)"


def test_a_rule_may_name_an_item_and_users_with_a_quote_in_them(project: Project) -> None:
    assert failed_checks(project, "quote") == {}
    assert project.checks()["places"].observed == "0.0000 of first pages lack a place (odd 0 of 0)"


def test_without_rules_none_are_looked_for(project: Project) -> None:
    assert not [name for name in project.plant_all().checks() if name.startswith("rule_") or name == "places"]


def test_active_users_and_those_who_get_an_unknown_users_list_are_counted(project: Project) -> None:
    project.plant_all()
    project.plant_lists(lists={"poor": ["3", "4"], "none": []}, only=["poor", "none"])
    project.plant_histories(users=["poor", "none"])
    project.plant_histories(users=["old"], at=date(1998, 1, 1))
    checks = project.checks()
    assert checks["active_coverage"].observed == "1.0000 (10 of 10 users of the last 28 days have a list)"
    assert checks["coverage"].observed == "0.9091 (10 of 11 known users have a list)"
    assert checks["fallback"].observed == "0.2000 (2 of 10 active users get what a stranger gets)"
    assert checks["fallback"].passed


def test_scores_that_change_warn_and_lists_that_are_gone_close_the_gate(project: Project) -> None:
    users = [f"x{number}" for number in range(60)]
    for day, who, scores in ((D, users, [4.0, 3.0, 2.0, 1.0]), (NEXT, users[:25], [9.0, 8.0, 2.0, 1.0])):
        if day == D:
            project.plant_items()
            project.plant_histories(day, users=users)
        project.plant_lists(day, lists={user: ["3", "4", "5", "6"] for user in who}, only=who, scores=scores)
        project.plant_popular(day)
        if day == D:
            project.judge()
            project.publish()
    checks = project.checks(NEXT)
    assert (checks["score_drift"].passed, checks["score_drift"].severity) == (False, "warn")
    assert "mean score 6.333, served 3, 25 users" in checks["score_drift"].observed
    loss = checks["rows_loss"]
    assert (loss.passed, loss.severity, loss.observed) == (False, "stop", "25 lists, v000001 has 60")


def test_the_page_says_the_verdict_and_draws_the_lists(project: Project) -> None:
    failed_checks(project, "filter", "floor", attributes={"12": {"year": "1980"}})
    project.judge(D, override="ann: first night")
    project.publish()
    night = project.night(D, stages.SLATE_GATE, override="ann: known")
    row: dict[str, Any] = {"run_id": "r", "night": D, "users": 8, "lists": 3, "entries": 4, "counted_at": moment(D)}
    named = [("new", "filter", 1), ("fresh", "floor", 2)]
    lost = {"items": 12, "score_lost": 1.5, "relevance_lost": 0.02}
    night.lake.append(
        SLATE_RULES, [row | lost | {"rule": rule, "kind": kind, "place": place} for rule, kind, place in named]
    )
    with lists_database(night) as db:
        page = slate_page.write_page(night, db, slate_checks(night, db)).read_text(encoding="utf8")
    assert "<h1>Gate 3, night of 1998-04-21: overridden by ann: known</h1>" in page
    assert page.count("<svg ") == 3  # what the rules did, the lists, against what is served
    assert "<td class='no'>no</td>" in page
    assert not [user for user in ("u1<", ">u1", "u8") if user in page]


@pytest.mark.parametrize("stop_on", ['["fallback"]', "[]"])
def test_what_closes_the_gate_is_declared(project: Project, stop_on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_GATES__SLATE__STOP_ON", stop_on)
    monkeypatch.setenv("NIGHTLOOM_GATES__SLATE__MAX_FALLBACK", "0")
    project.plant_all()
    project.plant_lists(lists={"poor": ["3", "4"]}, only=["poor"])
    project.plant_histories(users=["poor"])
    check = project.checks()["fallback"]
    assert (check.passed, check.severity) == (False, "stop" if "fallback" in stop_on else "warn")
