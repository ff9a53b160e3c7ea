"""When a retraining is due, and the reasons in the run's line: on rows with known drift, and on random rows."""

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import pytest

from nightloom.contracts import OUTCOMES
from nightloom.night.context import Night
from nightloom.settings import Training
from tests.training.small_project import DAY, MakeProject, Row, event, night_of
from training.drift import input_drift, outcome_drift
from training.due import schedule_reason, summary, volume_reason

RULES = Training(every_days=7, new_rows_share=0.2)
TRAINED_ON = DAY.date() - timedelta(days=6)
"""The night of the last training; windows are of two days (tests/training/small_project.py)."""


@pytest.mark.parametrize(
    ("age", "growth", "due", "why"),
    [
        (1, 0.05, False, "schedule: trained 1 of 7 days ago; volume: 5.0% more interactions, 20.0% are due"),
        (7, 0.0, True, "schedule: trained 7 of 7 days ago"),
        (6, 0.2, True, "volume: 20.0% more interactions, 20.0% are due"),
        (9, 0.5, True, "schedule: trained 9 of 7 days ago; volume: 50.0% more interactions, 20.0% are due"),
        (-3, 0.0, False, "schedule: trained -3 of 7 days ago; volume: 0.0% more interactions, 20.0% are due"),
    ],
)
def test_due_by_schedule_or_by_volume_with_every_reason(age: int, growth: float, due: bool, why: str) -> None:
    assert summary([schedule_reason(RULES, age), volume_reason(RULES, growth)]) == (due, why)


def visits(items: Iterable[str], days_before: float, kind: str = "like") -> list[Row]:
    """One user for each item, on one day."""
    rows = [event(f"{kind}{days_before}u{n}", item, days_before + n / 10_000) for n, item in enumerate(items)]
    return [row | {"event": kind} for row in rows]


def drift_by_kind(night: Night) -> dict[str, tuple[bool, str]]:
    return {text.split(":")[0]: (holds, text) for holds, text in input_drift(night, TRAINED_ON)}


ITEMS = [f"i{n:02}" for n in range(20)]


@pytest.fixture
def past() -> list[Row]:
    """Likes of every item, most of the first ones, long ago and again on the last days before the training."""
    liked = [item for n, item in enumerate(ITEMS) for _ in range(40 - n)]
    return visits(liked, 10) + visits(liked, 6.5)


def test_the_same_behaviour_is_no_drift(project: MakeProject, past: list[Row]) -> None:
    liked = [item for n, item in enumerate(ITEMS) for _ in range(40 - n)]
    drift = drift_by_kind(night_of(project(["popularity"], past + visits(liked, 0.5))))
    assert drift.keys() == {"drift of items by popularity"}  # of event types there is one
    holds, text = drift["drift of items by popularity"]
    assert not holds
    assert text.startswith("drift of items by popularity: 0.000, 0.250 is due")


def test_likes_of_items_without_past_events_are_drift(project: MakeProject, past: list[Row]) -> None:
    now = visits(["brand new"] * 300 + ITEMS * 15, 0.5)
    holds, text = drift_by_kind(night_of(project(["popularity"], past + now)))["drift of items by popularity"]
    assert holds
    assert text.endswith("most in items of no past event: 0.1% before, 49.6% now")


def test_another_mix_of_event_types_is_drift(project: MakeProject, past: list[Row]) -> None:
    now = visits(ITEMS * 20, 0.5) + visits(ITEMS * 20, 0.6, kind="view")
    holds, text = drift_by_kind(night_of(project(["popularity"], past + now)))["drift of event types"]
    assert holds
    assert "most in view: 0.1% before, 50.0% now" in text


def test_few_users_with_the_same_taste_are_no_drift(project: MakeProject) -> None:
    rng = np.random.default_rng(1)
    rows = visits(rng.choice(ITEMS, 2000), 10) + visits(rng.choice(ITEMS, 12), 6.5) + visits(rng.choice(ITEMS, 12), 0.5)
    holds, text = drift_by_kind(night_of(project(["popularity"], rows)))["drift of items by popularity"]
    assert float(text.split(": ")[1].split(",")[0]) > 0.25  # above the declared limit, below the critical value
    assert not holds


def test_an_empty_window_gives_no_reason(project: MakeProject) -> None:
    assert drift_by_kind(night_of(project(["popularity"], visits(ITEMS, 10)))) == {}


def outcome(day: date, hit: int, came: int = 200) -> Row:
    return {
        "day": day, "segment": "all", "lists_night": day - timedelta(days=1), "model_version": "1", "k": 10,
        "lists": 500, "active_users": came, "users_hit": hit, "liked": 400, "hits": hit, "hits_stored": hit,
        "recall": 0.1, "precision": 0.1, "ndcg": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hits", "due"),
    [
        ([80] * 12, False),
        ([80] * 7 + [80, 80, 80, 40, 40], True),
        ([80] * 7 + [40, 40, 40, 40, 80], False),  # it was worse before, and recovered
        ([80] * 7 + [80, 80, 80, 80, 40], False),  # one bad day
        ([80] * 7 + [80, 80, 80, 70, 70], False),  # worse, but by less than declared
        ([80] * 4, False),  # too few days
    ],
)
def test_due_if_lists_are_liked_less_on_two_of_five_days_and_the_newest(
    project: MakeProject, hits: list[int], due: bool
) -> None:
    night = night_of(project(["popularity"], []))
    trained = night.date - timedelta(days=len(hits) + 1)
    first = [outcome(trained + timedelta(days=1), 199)]  # lists of the previous model
    night.lake.append(OUTCOMES, first + [outcome(trained + timedelta(days=2 + n), hit) for n, hit in enumerate(hits)])
    holds, text = summary(list(outcome_drift(night, trained)))
    assert holds is due
    if due:
        assert text == (
            "outcomes: 20.0% of the active users of 2026-03-01 liked an item of their list, 40.0% on the first days; "
            "2 of the last 5 days are worse by 20%"
        )


def test_a_loss_among_few_users_is_not_significant(project: MakeProject) -> None:
    night = night_of(project(["popularity"], []))
    trained = night.date - timedelta(days=13)
    days = [outcome(trained + timedelta(days=2 + n), hit, came=10) for n, hit in enumerate([4] * 7 + [4, 4, 4, 3, 3])]
    night.lake.append(OUTCOMES, days)
    assert summary(list(outcome_drift(night, trained)))[0] is False
