"""slate_checks.py: gate 3 closes on what must not be published, and on nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, POPULAR, RECOMMENDATIONS, SIMILAR_ITEMS
from nightloom.lake import arrow
from nightloom.night import stages
from serving.slate_checks import lists_database, slate_checks
from tests.serving.conftest import USERS, D, moment

if TYPE_CHECKING:
    from tests.serving.conftest import Project

NEXT, AFTER = date(1998, 4, 22), date(1998, 5, 6)


def failing(project: Project, day: date = date(1998, 4, 21)) -> dict[str, str]:
    """Checks that do not hold, with what they found."""
    return {name: check.observed for name, check in project.checks(day).items() if not check.passed}


def test_good_lists_pass_every_check(project: Project) -> None:
    assert failing(project.plant_all()) == {}


@pytest.mark.parametrize(
    ("items", "columns", "check", "found"),
    [
        (["3", "4", "5", "1"], {}, "seen_item", "1 lists"),
        (["3", "4", "5", "4"], {}, "duplicates_within_a_list", "1 lists"),
        (["3", "4", "5", "6"], {"scores": [1.0, 2.0, 0.5, 0.1]}, "rising_score", "1 lists"),
        (["3", "4", "5", "6"], {"scores": [4.0, 2.0, 0.5, float("-inf")]}, "infinite_or_missing_score", "1 lists"),
        (["3", "4", "5", "6"], {"scores": [4.0, None, 0.5, 0.1]}, "infinite_or_missing_score", "1 lists"),
    ],
)
def test_one_bad_list_closes_the_gate(
    project: Project, items: list[str], columns: dict[str, Any], check: str, found: str
) -> None:
    project.plant_all()
    project.plant_histories(users=["bad"])
    project.plant_lists(lists={"bad": items}, only=["bad"], **columns)
    assert failing(project) == {check: found}


def test_an_item_that_is_no_longer_available_closes_the_gate(project: Project) -> None:
    project.plant_items(unavailable=("12",))
    project.plant_histories()
    project.plant_lists()
    assert failing(project) == {"unavailable_item": "2 entries"}


def test_an_item_similar_to_itself_or_to_an_unavailable_one_closes_the_gate(project: Project) -> None:
    project.plant_items(unavailable=("1",))
    project.plant_histories()
    project.plant_lists()
    project.plant_similar(i3=["3", "1"])
    assert failing(project) == {"similar_items": "1 similar to themselves, 1 unavailable"}


def test_users_without_a_list_close_the_gate_by_coverage(project: Project) -> None:
    project.plant_all()
    project.plant_histories(users=["without", "too"])
    assert failing(project) == {
        "coverage": "0.8000 (8 of 10 known users have a list)",
        "active_coverage": "0.8000 (8 of 10 users of the last 28 days have a list)",
    }


def test_two_lists_of_one_user_close_the_gate(project: Project) -> None:
    project.plant_all()
    project.plant_lists(lists={"u1": ["3", "4", "5", "6"]}, only=["u1"])
    assert failing(project)["rows"] == "9 lists of 8 users"


def test_without_a_champion_a_night_has_popular_lists_alone_until_personal_ones_are_served(project: Project) -> None:
    project.plant_all()
    check = project.checks(NEXT)["lists"]
    assert (check.passed, check.severity) == (False, "warn")
    project.judge()
    project.publish()
    check = project.checks(NEXT)["lists"]
    assert (check.passed, check.severity) == (False, "stop")
    assert "8 personal lists are served" in check.expected


def test_an_empty_list_and_a_short_one_are_not_full(project: Project) -> None:
    project.plant_all()
    project.plant_histories(users=["empty", "short"])
    project.plant_lists(lists={"empty": [], "short": ["3", "4", "5"]}, only=["empty", "short"])
    assert failing(project) == {
        "fill": "0.8000 (8 of 10 lists are full)",
        "empty_list_with_items_left": "1 lists",
        "empty_lists": "0.1000 (1 of 10 lists; these users get the popular list)",
    }


def test_an_item_that_nobody_described_may_be_listed(project: Project) -> None:
    project.plant_all()
    project.plant_histories(users=["u9"])
    project.plant_lists(lists={"u9": ["3", "4", "5", "99"]}, only=["u9"])
    assert failing(project) == {}


def test_a_user_who_has_seen_everything_may_have_an_empty_list(project: Project) -> None:
    project.plant_all()
    project.plant_histories(likes={"all": [str(number) for number in range(1, 13)]})
    project.plant_lists(lists={"all": []}, only=["all"])
    empty = project.checks()["empty_lists"]
    assert (empty.passed, empty.severity) == (False, "warn")
    assert empty.observed == "0.1111 (1 of 9 lists; these users get the popular list)"
    assert failing(project).keys() == {"empty_lists"}


def test_in_a_shop_where_everybody_has_seen_everything_the_popular_list_is_the_first_page(project: Project) -> None:
    project.plant_histories(likes={"anna": ["1", "2", "3"]})
    project.night().lake.create(ITEMS)  # no source describes the items
    project.plant_lists(lists={"anna": []}, only=["anna"])
    project.plant_popular()
    assert failing(project).keys() == {"empty_lists"}
    assert project.checks()["catalogue"].observed == "1.0000 (3 of 3 items are in a first page)"


def test_a_list_with_every_item_that_is_left_is_full_however_short(project: Project) -> None:
    project.plant_items(unavailable=("6", "7", "8", "9", "10", "11", "12"))
    project.plant_histories()
    project.plant_lists(lists={f"u{number}": ["3", "4", "5"] for number in range(1, 9)})
    assert failing(project) == {}


def test_the_overlap_with_what_is_served_is_shown_and_stops_only_where_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.plant_all().judge()
    project.publish()
    project.plant_histories(NEXT)
    project.plant_lists(NEXT, lists={"u1": ["9", "10", "11", "12"]})
    check = project.checks(NEXT)["overlap"]
    assert (check.passed, check.severity) == (True, "warn")
    assert check.observed == "0.8750 over 8 users against v000001"
    monkeypatch.setenv("NIGHTLOOM_GATES__SLATE__MIN_OVERLAP", "0.9")
    check = project.checks(NEXT)["overlap"]
    assert (check.passed, check.severity) == (False, "stop")


def test_lists_of_another_model_are_not_compared(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    project.plant_histories(NEXT)
    project.plant_lists(NEXT, model_version="8")
    assert project.checks(NEXT)["overlap"].observed == "no list of the same model version is served"


@pytest.fixture
def judged(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A night that an open gate has judged, and the next one, in which only u1 has a new list."""
    monkeypatch.setenv("NIGHTLOOM_REVISION", "a" * 12)  # code that has changed since is not trusted
    project.plant_all().judge()
    for day in (NEXT, AFTER):
        for table in (POPULAR, SIMILAR_ITEMS, ITEM_STATS):
            rows = project.night().lake.rows(table, f"night = DATE '{D}'").to_pylist()
            project.night().lake.append(table, [row | {"night": day} for row in rows])
    project.plant_lists(NEXT, only=["u1"], items=["5", "6", "7", "8"], full_night=D)
    return project


def looked_into(project: Project, day: date = NEXT) -> list[str]:
    """Users whose lists a night's gate looks into."""
    with lists_database(project.night(day, stages.SLATE_GATE)) as db:
        return [user for (user,) in db.sql("SELECT DISTINCT user_id FROM unjudged_lists ORDER BY 1").fetchall()]


def scope(project: Project, day: date = NEXT) -> list[str]:
    """Users of whom a night's gate asks whether they have seen an item of their list."""
    with lists_database(project.night(day, stages.SLATE_GATE)) as db:
        return [user for (user,) in db.sql("SELECT user_id FROM scope ORDER BY 1").fetchall()]


def test_lists_that_an_open_gate_has_judged_are_not_looked_into_again(judged: Project) -> None:
    assert (failing(judged, NEXT), looked_into(judged)) == ({}, ["u1"])
    judged.plant_lists(NEXT, only=["u2"], items=["3", "4", "5", "4"], full_night=D)
    assert failing(judged, NEXT) == {"duplicates_within_a_list": "1 lists"}


def test_an_item_that_was_seen_since_the_last_gate_is_found_in_a_judged_list(judged: Project) -> None:
    judged.plant_histories(NEXT, likes={"u3": ["5", "6"]}, at=NEXT)
    assert "u3" not in looked_into(judged)
    assert failing(judged, NEXT)["seen_item"] == "1 lists"


def test_only_users_whose_history_has_changed_are_looked_for_among_seen_items(judged: Project) -> None:
    """The week's file is written again with the others' rows as they were."""
    lake = judged.night().lake
    rows = lake.rows(HISTORIES).to_pylist()
    for row in rows:
        if row["user_id"] == "u3":
            row |= {name: [*row[name], added] for name, added in (("items", "9"), ("event_ids", "u3-9"))}
            row |= {"weights": [*row["weights"], 1.0], "at": [*row["at"], moment(NEXT)]}
    week = HISTORIES.period_of(D)
    lake.replace(HISTORIES, arrow(HISTORIES, rows), f"week = DATE '{week}'", "{}")
    assert scope(judged) == ["u1", "u3"]
    for file in set(lake.files(HISTORIES, lake.version(HISTORIES) - 1)) - set(lake.files(HISTORIES)):
        Path(file).unlink()
    assert scope(judged) == USERS


def test_an_event_that_came_before_its_time_is_looked_for_from_the_night_of_its_time_on(judged: Project) -> None:
    judged.plant_histories(D, likes={"u3": ["5"]}, at=NEXT)
    judged.judge()
    assert scope(judged) == ["u1", "u3"]
    assert failing(judged, NEXT)["seen_item"] == "1 lists"


def test_a_list_that_another_one_stood_for_when_the_gate_looked_is_looked_into(judged: Project) -> None:
    """u1 has seen 3 since the list of D, in which it stands; the list of NEXT was right, and is not carried on."""
    judged.plant_histories(NEXT, likes={"u1": ["3"]}, at=D)
    judged.judge(NEXT)
    judged.plant_lists(AFTER, only=["u2"], full_night=D)
    assert looked_into(judged, AFTER) == ["u1", "u2"]
    assert failing(judged, AFTER)["seen_item"] == "1 lists"


def test_after_a_closed_gate_or_with_other_code_every_list_is_looked_into(
    judged: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLOOM_REVISION", "b" * 12)
    assert looked_into(judged) == USERS
    monkeypatch.setenv("NIGHTLOOM_REVISION", "a" * 12)
    assert looked_into(judged) == ["u1"]
    judged.plant_lists(lists={"bad": ["3", "3"]}, only=["bad"])
    with pytest.raises(SystemExit):
        judged.judge()
    assert looked_into(judged) == sorted([*USERS, "bad"])


def test_only_lists_that_are_not_in_a_file_of_both_nights_are_compared_with_the_served_ones(judged: Project) -> None:
    """Where the served files are gone, the store gives the same answer."""

    def compared() -> tuple[list[str], dict[str, str]]:
        night = judged.night(AFTER, stages.SLATE_GATE)
        with lists_database(night) as db:
            found = {check.name: check.observed for check in slate_checks(night, db)}
            users = db.sql("SELECT user_id FROM served ORDER BY 1").fetchall()
        return [user for (user,) in users], {name: found[name] for name in ("overlap", "score_drift", "rows_loss")}

    judged.judge(NEXT)
    judged.publish(NEXT)
    judged.plant_lists(AFTER, only=["u2"], items=["9", "8", "7", "6"], scores=[4.0, 3.0, 2.0, 1.0], full_night=D)
    users, by_files = compared()
    assert users == ["u1", "u2"]  # u1 has the list of D again
    lake, of_next = judged.night().lake, f"night = DATE '{NEXT}'"
    gone = lake.files(RECOMMENDATIONS, where=f"night = '{NEXT}'")
    lake.replace(RECOMMENDATIONS, lake.rows(RECOMMENDATIONS, of_next), of_next, "{}")
    for file in gone:  # as a vacuum deletes them
        Path(file).unlink()
    users, by_store = compared()
    assert (users, by_store) == (USERS, by_files)
    assert by_files["rows_loss"] == "8 lists, v000001 has 8"
