"""`nightloom cost`: it gives back the nights that it was made of, grows with what it should, and says where it ends."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.cost import as_text, first_night, record, second_night
from benchmarks.scale import Cost, Size
from nightloom.cost import RATES, machines_for, predict, read_rates
from nightloom.cost import cost as command
from nightloom.night import stages


def invoke(*words: str) -> Result:
    return CliRunner().invoke(command, words, catch_exceptions=False)


def asked(users: int, items: int, events: int, *words: str) -> dict[str, float]:
    sizes = ("--users", str(users), "--items", str(items), "--events-per-day", str(events))
    found: dict[str, float] = json.loads(invoke(*sizes, "--json", *words).output)
    return found


def test_a_measured_night_is_predicted_to_take_what_it_took() -> None:
    measured = read_rates()
    for each in measured:
        predicted = predict(measured, each.night)
        assert sum(predicted.values()) == pytest.approx(sum(each.seconds.values()), rel=0.1)
        assert predicted.keys() == each.seconds.keys()


def test_every_stage_of_a_night_was_measured() -> None:
    assert {stage for each in read_rates() for stage in each.seconds} == {stage.name for stage in stages.NIGHT}


def test_more_of_anything_never_costs_less() -> None:
    measured = read_rates()
    night = measured[0].night
    before = sum(predict(measured, night).values())
    for name in ("users", "items", "events", "all_events", "scored_users"):
        more = replace(night, **{name: 2 * getattr(night, name)})
        assert sum(predict(measured, more).values()) > before, name


def test_machines_are_as_many_as_the_window_needs() -> None:
    assert machines_for(single=100, spread=1000, window=1100, loss=0.0) == 1
    assert machines_for(single=100, spread=1000, window=600, loss=0.0) == 2
    assert machines_for(single=100, spread=1000, window=600, loss=0.1) == 3
    assert machines_for(single=600, spread=1000, window=600, loss=0.0) is None


def test_money_follows_the_prices_that_are_given() -> None:
    once, twice = (asked(1_000_000, 100_000, 1_000_000, "--machine-hour", price, "--gib-month", "0") for price in "12")
    assert twice["money"] == pytest.approx(2 * once["money"])
    assert once["money_per_thousand_users"] == pytest.approx(once["money"] / 1000)


def test_sizes_outside_the_measured_range_are_named() -> None:
    shown = invoke("--users", "1000000000", "--items", "100000", "--events-per-day", "1000000")
    assert "careful: 1,000,000,000 users are outside" in shown.output
    assert "no number of machines" in shown.output
    assert "careful" not in invoke("--users", "1000000", "--items", "100000", "--events-per-day", "1000000").output


def test_a_night_is_recorded_once_and_by_whom_it_was_measured(tmp_path: Path) -> None:
    file, size = tmp_path / "rates.json", Size(events=1000, users=100, items=40)
    for seconds in (3.0, 2.0):
        record(file, first_night(size), {stages.BRONZE.name: Cost(seconds, 1.0)}, "./run bench cost", "a" * 12)
    record(file, second_night(size), {stages.BRONZE.name: Cost(1.0, 1.0)}, "./run bench cost", "a" * 12)
    first, second = read_rates(file)
    assert (first.seconds, second.seconds) == ({stages.BRONZE.name: 2.0}, {stages.BRONZE.name: 1.0})
    assert first.by.keys() == {"processor", "cores", "memory_gib", "date", "commit", "command"}


def test_the_rates_are_written_as_the_benchmark_writes_them() -> None:
    text = RATES.read_text(encoding="utf8")
    assert as_text(json.loads(text)["nights"]) == text
