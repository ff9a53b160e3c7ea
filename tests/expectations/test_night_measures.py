"""A night compared with the nights before it: what is usual, what is reported, and what has no limit yet."""

import json
import math
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from expectations.drift import drift
from expectations.gate import main
from expectations.measure import Measure
from expectations.night_measures import (
    newest_event_age,
    night_measures,
    nights_before,
    source_rows,
    undescribed_shares,
)
from expectations.spellings import differently_spelled
from nightloom import contracts as T
from nightloom.night.context import Night
from nightloom.psi import critical_psi, psi
from tests.expectations.conftest import NOON, D, ran

Put = Callable[..., None]


def by_name(found: Any) -> dict[str, Measure]:
    return {measure.name: measure for measure in found}


def days(*counts: int) -> dict[date, int]:
    """Rows of the nights that end with D, oldest first."""
    return {D - timedelta(days=len(counts) - 1 - place): count for place, count in enumerate(counts)}


@pytest.fixture
def ingested(night: Night, put: Put) -> Callable[[dict[date, int]], None]:
    """Nights that ran, each with this many rows of the source `ratings`; only those without rows are recorded."""

    def ingest(counts: dict[date, int]) -> None:
        ran(night, *(day for day, count in counts.items() if not count))
        put(
            T.BRONZE_EVENTS,
            *(
                {"row_id": f"{day.toordinal():032x}{n:032x}", "night": day}
                for day, count in counts.items()
                for n in range(count)
            ),
        )

    return ingest


def rows_of_ratings(night: Night) -> Measure:
    return by_name(source_rows(night, nights_before(night)))["rows of ratings"]


def fits(measure: Measure) -> bool:
    assert measure.value is not None
    return (measure.low or 0) <= measure.value <= (math.inf if measure.high is None else measure.high)


def test_a_first_night_has_no_past_and_passes(night: Night, ingested: Callable[..., None]) -> None:
    ingested(days(100, 100, 7))
    measure = rows_of_ratings(night)
    assert (measure.value, measure.has_limit) == (7, False)
    assert measure.observed == "7 rows; no past yet (2 nights before, 3 are needed)"


def test_a_third_of_the_usual_rows_does_not_fit_the_limits(night: Night, ingested: Callable[..., None]) -> None:
    ingested(days(100, 90, 5000, 110, 30))
    measure = rows_of_ratings(night)
    assert not fits(measure)
    assert measure.observed == "30 rows; the median of 4 nights before is 105"
    assert (measure.low, measure.high, measure.severity) == (52.5, 157.5, "warn")


def test_the_same_weekday_is_what_counts_once_there_are_three(night: Night, ingested: Callable[..., None]) -> None:
    busy = {D - timedelta(days=n): 200 if n % 7 == 0 else 20 for n in range(22)}
    ingested(busy)
    measure = rows_of_ratings(night)
    assert fits(measure)
    assert measure.observed == "200 rows; the median of 3 Tuesdays before is 200"


def test_small_counts_may_swing_and_a_source_that_comes_now_and_then_is_not_judged(
    night: Night, ingested: Callable[..., None]
) -> None:
    ingested(days(4, 4, 4, 9))
    assert fits(rows_of_ratings(night))
    ran(night, *(D - timedelta(days=n) for n in range(4, 12)))
    measure = rows_of_ratings(night)
    assert (measure.observed, measure.has_limit) == ("9 rows; the median of 11 nights before is 0", False)


def test_a_night_that_did_not_run_is_not_a_night_without_rows(night: Night, ingested: Callable[..., None]) -> None:
    ingested({D - timedelta(days=n): 100 for n in (0, 3, 6, 9)})
    assert rows_of_ratings(night).observed == "100 rows; the median of 3 nights before is 100"


def test_the_newest_event_is_timed_against_the_end_of_the_day(night: Night, put: Put) -> None:
    put(
        T.INTERACTIONS,
        {"occurred_at": NOON - timedelta(days=1)},
        {"event_id": "e2", "occurred_at": NOON + timedelta(days=9)},
    )
    (measure,) = newest_event_age(night)
    assert (measure.value, measure.high) == (36.0, 24.0)
    assert measure.observed == "36.0 hours before the day's end (1998-04-20 12:00 UTC)"


def test_interactions_with_items_that_nobody_described_are_a_share_with_examples(night: Night, put: Put) -> None:
    put(T.ITEMS, {"item_id": "i1"})
    put(T.USERS, {"user_id": "u1"})
    put(T.INTERACTIONS, *({"event_id": f"e{n}", "item_id": "i1" if n < 6 else "i9"} for n in range(8)))
    put(T.INTERACTIONS, {"event_id": "old", "item_id": "i8", "night": D - timedelta(days=1)})
    found = by_name(undescribed_shares(night))
    assert found["items that nobody described"].value == 0.25
    assert found["items that nobody described"].observed == (
        "25.0% of 8 interactions name items that are not in silver.items, e.g. i9"
    )
    assert found["users that nobody described"].value == 0.0


def test_equal_shares_do_not_drift_and_a_shift_does() -> None:
    assert psi(Counter(a=50, b=50), Counter(a=500, b=500)) == pytest.approx(0, abs=1e-4)
    # (.9 - .5) ln(.9 / .5) + (.1 - .5) ln(.1 / .5) = .879, and the half events take a little off it
    assert psi(Counter(a=900, b=100), Counter(a=500, b=500)) == pytest.approx(0.879, abs=0.005)
    assert psi(Counter(a=5), Counter(b=5)) > 1


def test_two_samples_of_one_population_stay_below_what_chance_does() -> None:
    chance = random.Random(7)
    draws = [
        psi(*(Counter(chance.choices(range(8), k=size)) for size in (40, 900))) > critical_psi(8, 40, 900)
        for _ in range(300)
    ]
    assert sum(draws) <= 3


def events(day: date, *, hour: int, value: float, item: str, people: int = 60) -> list[dict[str, Any]]:
    """One event each of many users."""
    at = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    return [
        {"event_id": f"{at}-{n}", "user_id": f"u{n}", "item_id": item, "value": value, "occurred_at": at, "night": day}
        for n in range(people)
    ]


def test_a_night_that_is_like_its_past_does_not_drift_and_another_names_what_changed(night: Night, put: Put) -> None:
    before = [D - timedelta(days=n) for n in (3, 2, 1)]
    put(T.ITEMS, {"item_id": "i1", "categories": ["drama"]}, {"item_id": "i2", "categories": ["crime"]})
    for day in [*before, D]:
        put(T.INTERACTIONS, *events(day, hour=9, value=4.0, item="i1"))
        put(T.INTERACTIONS, *events(day, hour=10, value=2.0, item="i2"))
    same = by_name(drift(night, before))
    assert same.keys() == {"drift of values", "drift of hours of the day", "drift of categories"}
    assert all(fits(measure) for measure in same.values())
    night.date, night.reads = D + timedelta(days=1), {}
    put(T.INTERACTIONS, *events(night.date, hour=23, value=4.0, item="i2"))
    other = by_name(drift(night, [*before, D]))
    assert [name for name, measure in other.items() if not fits(measure)] == [
        "drift of values", "drift of hours of the day", "drift of categories",
    ]  # fmt: skip
    assert "against 4 nights; most in drama: 50.0% before, 0.8% now" in other["drift of categories"].observed


def test_a_few_people_are_no_drift(night: Night, put: Put) -> None:
    before = [D - timedelta(days=n) for n in (3, 2, 1)]
    for day in before:
        put(T.INTERACTIONS, *events(day, hour=9, value=4.0, item="i1", people=6))
        put(T.INTERACTIONS, *events(day, hour=10, value=2.0, item="i1", people=6))
    put(T.INTERACTIONS, *events(D, hour=9, value=4.0, item="i1", people=2))
    assert all(fits(measure) for measure in drift(night, before))


def test_without_a_past_the_gate_says_so_and_stays_open(night: Night, put: Put, sound: None) -> None:
    main(night)
    observed = {row["check"]: row["observed"] for row in night.lake.rows(T.GATES, "passed").to_pylist()}
    assert observed["silver.interactions: drift of hours of the day"] == "no past yet"
    assert observed["bronze.events: rows of ratings"].startswith("1 rows; no past yet")


def test_what_the_settings_name_stops_the_night(night: Night, put: Put) -> None:
    gate = night.settings.gates.data.model_copy(update={"stop_on": ("age",)})
    gates = night.settings.gates.model_copy(update={"data": gate})
    night.settings = night.settings.model_copy(update={"gates": gates})
    put(T.INTERACTIONS, {"occurred_at": NOON - timedelta(days=3)})
    assert by_name(night_measures(night))["age of the newest event"].severity == "stop"


def test_fields_that_nobody_declared_are_a_warning_that_names_source_and_fields(night: Night, sound: None) -> None:
    for day, fields in ((D, "colour, size"), (D - timedelta(days=1), "shape")):
        stamp = {"night": str(day), "tags": {"rescued:ratings": fields}}
        night.lake.replace(T.ITEMS, night.lake.rows(T.ITEMS), "true", json.dumps(stamp))
    main(night)
    (check,) = night.lake.rows(T.GATES, "NOT passed AND check LIKE 'undeclared%'").to_pylist()
    assert (check["check"], check["severity"]) == ("undeclared fields of ratings", "warn")
    assert check["observed"] == "colour, size (kept in the column `rescued`)"


def test_ids_that_are_described_in_another_spelling_are_counted_with_the_keys_that_make_them_one(
    night: Night, put: Put
) -> None:
    put(T.ITEMS, *({"item_id": each} for each in ("42", "a1", "B2", "b2", "77", "i1")))
    ids = ("i1", "0042", "42.0", "A1 ", "B2 ", "nobody", "9")
    put(T.INTERACTIONS, *({"event_id": f"e{n}", "item_id": each} for n, each in enumerate(ids)))
    put(T.INTERACTIONS, {"event_id": "old", "item_id": "077", "night": D - timedelta(days=1)})
    measure = by_name(differently_spelled(night))["items described in another spelling"]
    assert (measure.value, measure.high, measure.severity) == (3, 0.0, "warn")
    assert measure.observed == (
        "6 of 7 ids of items in the night's events are not in silver.items; 3 of them are there in another spelling: "
        "'0042' as '42', '42.0' as '42', 'A1 ' as 'a1'; "
        '`ids = { trim = true, drop_point_zero = true, drop_leading_zeros = true, case = "lower" }` in [[sources]] '
        "makes each pair one id"
    )


def test_the_fewest_keys_are_named_and_where_no_spelling_helps_none(night: Night, put: Put) -> None:
    put(T.ITEMS, {"item_id": "a1"}, {"item_id": "a2"})
    put(T.USERS, {"user_id": "u1"})
    put(T.INTERACTIONS, {"event_id": "e1", "item_id": "A1", "user_id": "someone"})
    found = by_name(differently_spelled(night))
    assert '`ids = { case = "lower" }`' in found["items described in another spelling"].observed
    assert (found["users described in another spelling"].value, fits(found["users described in another spelling"])) == (
        0, True
    )  # fmt: skip
