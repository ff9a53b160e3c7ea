"""gold.recommendations: a night stores what changed, and readers get every user's list of any night."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from nightloom.contracts import POPULAR, RECOMMENDATIONS
from nightloom.errors import MissingTableError
from nightloom.lake import Lake
from nightloom.lake.recommendations import (
    CARRIED_COLUMNS,
    StoredNight,
    check_files,
    dependent_nights,
    files_of_night,
    logical_rows,
    night_columns,
    nightly_lists,
    oldest_needed_night,
    previous_night,
    rows_to_carry,
)

FULL, QUIET, BUSY, NEW_FULL, AFTER = (date(2024, 3, day) for day in (1, 2, 3, 4, 5))
ROOT = Path(__file__).parents[2]
Lists = dict[str, list[str]]
EXPECTED: dict[date, Lists] = {
    FULL: {"u1": ["a"], "u2": ["b"], "u3": ["c"]},
    QUIET: {"u1": ["a"], "u2": ["b"], "u3": ["c"]},
    BUSY: {"u1": ["x"], "u2": ["b"], "u3": ["c"], "u4": ["new"]},
    NEW_FULL: {"u1": ["x"], "u2": ["z"]},
    AFTER: {"u1": ["x"], "u2": ["y"]},
}


def store(lake: Lake, night: date, lists: Lists, *, full_refresh: bool = False) -> None:
    """Write a night's own rows as the stage does."""
    moment = datetime(night.year, night.month, night.day, tzinfo=UTC)
    columns = night_columns(night, None if full_refresh else previous_night(lake, night))
    fixed = columns | {"model_version": "1", "generated_at": moment}
    rows = [{"user_id": user, "items": items, "scores": [1.0 for _ in items]} for user, items in lists.items()]
    lake.append(RECOMMENDATIONS, [row | fixed for row in rows])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    store(lake, FULL, EXPECTED[FULL], full_refresh=True)
    store(lake, QUIET, {"u2": ["b"]})
    store(lake, BUSY, {"u1": ["x"], "u4": ["new"]})
    store(lake, NEW_FULL, EXPECTED[NEW_FULL], full_refresh=True)
    store(lake, AFTER, {"u2": ["y"]})
    return lake


def lists(lake: Lake, night: date, version: int | None = None) -> Lists:
    rows = lake.query(nightly_lists(lake, night, version), ("t", lake.open(RECOMMENDATIONS, version))).to_pylist()
    assert {row["night"] for row in rows} <= {night}
    assert len({row["user_id"] for row in rows}) == len(rows)
    return {row["user_id"]: row["items"] for row in rows}


def test_each_night_has_every_users_list(lake: Lake) -> None:
    assert {night: lists(lake, night) for night in EXPECTED} == EXPECTED
    assert lists(lake, date(2024, 3, 9)) == {}


def test_the_tables_name_means_every_list_of_every_night(lake: Lake) -> None:
    select = logical_rows(RECOMMENDATIONS, "t")
    found: dict[date, Lists] = {night: {} for night in EXPECTED}
    for row in lake.query(select, ("t", lake.open(RECOMMENDATIONS))).to_pylist():
        found[row["night"]][row["user_id"]] = row["items"]
    assert found == EXPECTED
    assert logical_rows(POPULAR, "t") == "SELECT * FROM t"


def test_an_earlier_version_answers_as_it_was(lake: Lake) -> None:
    version = lake.version(RECOMMENDATIONS)
    lake.open(RECOMMENDATIONS).delete(f"night = DATE '{BUSY}' AND user_id = 'u1'")
    assert lists(lake, BUSY)["u1"] == ["a"]
    assert lists(lake, BUSY, version) == EXPECTED[BUSY]


def test_a_night_knows_what_it_takes_from_the_one_before(lake: Lake) -> None:
    assert previous_night(lake, FULL) is None
    assert previous_night(lake, QUIET) == StoredNight(FULL, FULL, lists=3, changed=0)
    assert previous_night(lake, NEW_FULL) == StoredNight(BUSY, FULL, lists=3, changed=2)
    assert previous_night(lake, date(2024, 3, 9)) == StoredNight(AFTER, NEW_FULL, lists=2, changed=1)
    assert previous_night(Lake(lake.root / "none"), QUIET) is None


def test_changed_lists_are_carried_and_one_list_where_none_has_changed(lake: Lake) -> None:
    def carried(night: date) -> Lists:
        previous = previous_night(lake, night)
        assert previous is not None
        rows = lake.query(rows_to_carry(previous, "t"), ("t", lake.open(RECOMMENDATIONS)))
        assert rows.column_names == list(CARRIED_COLUMNS)
        return dict(zip(rows["user_id"].to_pylist(), rows["items"].to_pylist(), strict=True))

    assert carried(NEW_FULL) == {"u1": ["x"], "u4": ["new"]}
    ((user, items),) = carried(QUIET).items()
    assert items == EXPECTED[FULL][user]


def test_the_nights_that_take_lists_from_another_are_known(lake: Lake) -> None:
    assert dependent_nights(lake, FULL) == [QUIET, BUSY]
    assert dependent_nights(lake, BUSY) == []
    assert dependent_nights(Lake(lake.root / "none"), FULL) == []
    assert oldest_needed_night(lake, BUSY) == FULL
    assert oldest_needed_night(lake, NEW_FULL) == NEW_FULL
    assert oldest_needed_night(lake, date(2024, 3, 9)) == date(2024, 3, 9)


def test_the_files_of_a_night_are_those_of_all_its_lists(lake: Lake) -> None:
    assert len(files_of_night(lake, RECOMMENDATIONS, BUSY)) == 2
    assert len(files_of_night(lake, RECOMMENDATIONS, NEW_FULL)) == 1
    assert set(files_of_night(lake, RECOMMENDATIONS, FULL)) < set(files_of_night(lake, RECOMMENDATIONS, BUSY))


@pytest.mark.parametrize("removed", [FULL, BUSY])
def test_a_night_without_one_of_its_files_is_missing(lake: Lake, removed: date) -> None:
    version = lake.version(RECOMMENDATIONS)
    check_files(lake, RECOMMENDATIONS, BUSY, version)
    files = files_of_night(lake, RECOMMENDATIONS, BUSY, version)
    Path(next(file for file in files if f"night={removed}" in file)).unlink()
    with pytest.raises(MissingTableError, match=r"of gold.recommendations are gone: a vacuum removed them"):
        check_files(lake, RECOMMENDATIONS, BUSY, version)


def test_no_other_module_knows_how_a_night_is_stored() -> None:
    rooms = (
        "benchmarks",
        "bootstrap",
        "dags",
        "expectations",
        "models",
        "nightloom",
        "serving",
        "spark_jobs",
        "training",
    )
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    naming = {str(file.relative_to(ROOT)) for file in files if "full_night" in file.read_text(encoding="utf8")}
    assert naming == {"nightloom/contracts/gold.py", "nightloom/lake/recommendations.py"}
