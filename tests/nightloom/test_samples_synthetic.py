"""Synthetic data: the same seed gives the same bytes, the structure is as documented, and .truth.json is right."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from nightloom.samples import SampleError, dirt, simulation
from nightloom.samples.command import sample
from nightloom.samples.landing import Landing
from nightloom.samples.population import weighted_choice
from nightloom.samples.simulation import SampleSpec
from nightloom.samples.synthetic import write

Row = dict[str, Any]
ACTIONS = {"view", "cart", "purchase"}


def spec(**changes: Any) -> SampleSpec:
    defaults = {
        "users": 400,
        "items": 160,
        "days": 4,
        "seed": 3,
        "events": 20_000,
        "start": date(2024, 2, 28),
        "dirt": 0.0,
    }
    return SampleSpec(**{**defaults, **changes})


def write_to(folder: Path, **changes: Any) -> Path:
    write(spec(**changes), Landing(folder))
    return folder


def lines(folder: Path, kind: str) -> Iterator[tuple[str, str]]:
    """Day of the file, and line."""
    for file in sorted((folder / kind).iterdir()):
        with gzip.open(file, "rt", encoding="utf8") as content:
            yield from ((file.name[:10], line) for line in content)


def rows(folder: Path, kind: str) -> list[Row]:
    return [json.loads(line) for _, line in lines(folder, kind)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_to(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_to(tmp_path_factory.mktemp("dirty"), dirt=0.3)


def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(clean: Path, tmp_path: Path) -> None:
    assert content(write_to(tmp_path / "again")) == content(clean)
    other = content(write_to(tmp_path / "other", seed=4))
    assert all(other[name] != data for name, data in content(clean).items())


def test_clean_data_has_the_given_number_of_distinct_events_each_on_its_day_in_order(clean: Path) -> None:
    events = rows(clean, "events")
    assert len({event["event_id"] for event in events}) == len(events) == 20_000
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert all(json.loads(line)["at"].startswith(f"{day}T") for day, line in lines(clean, "events"))
    assert events[0].keys() == {"event_id", "user_id", "item_id", "event", "value", "at"}
    assert {event["event"] for event in events} == ACTIONS


def test_users_and_items_arrive_on_the_day_of_their_first_event_or_before(clean: Path) -> None:
    for kind, key, n in (("users", "user_id", 400), ("items", "item_id", 160)):
        arrival = {json.loads(line)[key]: day for day, line in lines(clean, kind)}
        assert len(arrival) == n
        assert set(arrival.values()) == {"2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02"}
        assert all(arrival[event[key]] <= event["at"][:10] for event in rows(clean, "events"))


def test_users_prefer_items_of_their_own_cluster(clean: Path) -> None:
    user_condition = {user["user_id"]: user["cluster"] for user in rows(clean, "users")}
    of_item = {item["item_id"]: item["cluster"] for item in rows(clean, "items")}
    own = np.mean([user_condition[event["user_id"]] == of_item[event["item_id"]] for event in rows(clean, "events")])
    # 0.75 by choice and an eighth of the rest by chance; without preference it would be 0.125
    assert own == pytest.approx(0.78, abs=0.03)


def test_popularity_is_skewed(clean: Path) -> None:
    counts = sorted(Counter(event["item_id"] for event in rows(clean, "events")).values(), reverse=True)
    assert sum(counts[:16]) > 0.3 * sum(counts)  # a tenth of the items; evenly it would be 0.1


def test_the_share_of_rising_items_grows(clean: Path) -> None:
    items = rows(clean, "items")
    rising = {item["item_id"] for item in items if item["rising"]}
    share = {
        day: np.mean([event["item_id"] in rising for event in rows(clean, "events") if event["at"].startswith(day)])
        for day in ("2024-02-28", "2024-03-02")
    }
    assert share["2024-03-02"] > 2 * share["2024-02-28"]


def test_a_cart_follows_a_view_of_the_same_item_and_a_purchase_follows_the_cart(clean: Path) -> None:
    seen: set[tuple[str, str, str]] = set()
    for event in rows(clean, "events"):
        if needed := {"cart": "view", "purchase": "cart"}.get(event["event"]):
            assert (event["user_id"], event["item_id"], needed) in seen
        seen.add((event["user_id"], event["item_id"], event["event"]))


def kind_of(line: str) -> str:
    """The kind of dirt of a line, found from its content as an ingest would."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return "garbage"
    at = str(event["at"])
    found = {
        "missing_user": event.get("user_id") is None,
        "missing_item": "item_id" not in event,
        "unparsable_time": not at.startswith("2"),
        "far_future": "2090" < at < "3",
        "impossible_value": event["value"] is not None,
        "unknown_event": event["event"] not in ACTIONS,
        "undeclared_column": "trace" in event,
    }
    wrong = [kind for kind, holds in found.items() if holds]
    assert len(wrong) <= 1
    return wrong[0] if wrong else "good"


def test_the_truth_has_the_number_of_lines_of_each_kind_of_dirt_and_of_good_events(dirty: Path) -> None:
    truth = json.loads((dirty / ".truth.json").read_text())
    found: Counter[str] = Counter()
    good: dict[str, str] = {}  # event id -> day of the file it first came in
    for day, line in lines(dirty, "events"):
        kind = kind_of(line)
        if kind in ("good", "undeclared_column"):
            event_id = json.loads(line)["event_id"]
            if event_id in good:
                kind = dirt.SAME_DAY if good[event_id] == day else dirt.NEXT_DAY
            good.setdefault(event_id, day)
        found[kind] += 1
    assert {kind: found[kind] for kind in dirt.KINDS} == truth["dirt"]
    assert min(truth["dirt"].values()) > 200  # every kind is there
    assert (sum(found.values()), len(good)) == (truth["lines"], truth["events"])
    assert truth["events"] + truth["quarantined"] == 20_000
    assert sum(found[kind] for kind in dirt.QUARANTINED) == truth["quarantined"]


def test_the_truth_of_the_days_adds_up_to_the_total(dirty: Path) -> None:
    truth = json.loads((dirty / ".truth.json").read_text())
    for name in ("lines", "events", "quarantined"):
        assert sum(day[name] for day in truth["days"].values()) == truth[name]
    by_day = Counter(day for day, _ in lines(dirty, "events"))
    assert {day: counts["lines"] for day, counts in truth["days"].items()} == by_day


def test_a_folder_with_another_sample_is_not_mixed_with_this_one(clean: Path, tmp_path: Path) -> None:
    write_to(tmp_path)
    again = Landing(tmp_path)
    write(spec(), again)
    assert (again.written, again.unchanged) == (0, 12)
    with pytest.raises(SampleError, match=r"seed 3.*asked for .*seed 4.*--to"):
        write(spec(seed=4), again)


@pytest.mark.parametrize("small", [{"users": 1, "items": 1, "days": 1, "events": 1}, {"items": 3, "events": 2}])
def test_the_smallest_samples_work(tmp_path: Path, small: Row) -> None:
    assert len(rows(write_to(tmp_path, **small), "events")) == small["events"]


def test_a_day_of_many_chunks_is_in_order_and_without_repeated_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "CHUNK", 1_000)
    events = rows(write_to(tmp_path, days=1), "events")
    assert len({event["event_id"] for event in events}) == 20_000
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)


def test_a_weighted_choice_never_has_weight_zero_or_is_outside_its_range() -> None:
    weights = np.array([0.0, 1e-300, 0.0, 0.0, 5.0, 0.0, 1.0, 0.0])
    first, last = np.array([0, 2, 5] * 10_000), np.array([3, 6, 8] * 10_000)
    assert weighted_choice(np.random.default_rng(0), weights, first, last).tolist() == [1, 4, 6] * 10_000


PEAK = """
import resource, sys
from pathlib import Path
from nightloom.samples.command import sample
sample(sys.argv[1:], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mib(folder: Path, events: int) -> float:
    """Peak memory of a process that writes the sample."""
    arguments = f"synthetic --users 500 --items 100 --days 2 --seed 1 --dirt 0.02 --events {events} --to {folder}"
    process = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments.split()], check=True, capture_output=True, text=True, timeout=120
    )
    return int(process.stdout.splitlines()[-1]) / 1024  # Linux counts in KiB


def test_four_times_the_events_need_no_more_memory(tmp_path: Path) -> None:
    assert peak_mib(tmp_path / "large", 1_600_000) < peak_mib(tmp_path / "small", 400_000) + 60


def test_the_command_prints_one_line_with_the_numbers(tmp_path: Path) -> None:
    arguments = f"synthetic --users 50 --items 20 --days 2 --seed 1 --to {tmp_path}"
    result = CliRunner().invoke(sample, arguments.split())
    assert result.exit_code == 0
    assert result.stdout == (
        f"{tmp_path}: 6 files written, 0 kept as they were; "
        "1,000 lines on 2 days: 1,000 distinct good events, 0 lines for quarantine\n"
    )
