"""No row lost: what accounts for a bronze record, what closes gate 1, and what it reads."""

from argparse import Namespace
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations.reconciliation import reconcile
from nightloom import contracts as T
from nightloom.errors import GateClosedError
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from tests.expectations.conftest import NOON, D

Put = Callable[..., None]


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def event(put: Put) -> Callable[..., None]:
    """Bronze events by number, the file named after it."""

    def append(*numbers: int, night: date = D) -> None:
        put(T.BRONZE_EVENTS, *({"row_id": digest(n), "file": f"{n}.json", "night": night} for n in numbers))

    return append


def used(put: Put, *numbers: int, night: date = D) -> None:
    put(T.INTERACTIONS, *({"event_id": f"e{n}", "row_id": digest(n), "night": night} for n in numbers))


def unused(put: Put, number: int, outcome: str, detail: str, **fields: Any) -> None:
    moment = NOON if outcome == "duplicate" else None
    row = {"row_id": digest(number), "outcome": outcome, "detail": detail, "occurred_at": moment}
    put(T.UNUSED_ROWS, row | fields)


def cleaned(night: Night, kind: str = "events") -> None:
    """What a cleaning stage notes in its tables: all of bronze is consumed, and gate 1 begins with the first row."""
    lake, bronze = night.lake, T.BRONZE[kind]
    for table in (T.SILVER[kind], T.UNUSED_ROWS, T.QUARANTINE_ROWS):
        lake.create(table)
    for table in (T.SILVER[kind], T.UNUSED_ROWS):
        lake.mark_consumed({bronze: lake.version(bronze)}, table)
    if lake.consumed_version(bronze, T.GATES) is None:
        lake.mark_consumed({bronze: 0, T.SILVER[kind]: 0}, T.GATES)


def judged(night: Night, kind: str = "events") -> Check:
    """The check of the kind, by a run of its own."""
    return reconcile(again(night), kind)[0][0]


def again(night: Night) -> Night:
    return Night(date=D, settings=night.settings, run_id="test", stage="test", arguments=Namespace(override=None))


def reconciled(night: Night) -> None:
    """As an open gate 1 leaves it."""
    night.lake.mark_consumed(reconcile(again(night), "events")[1], T.GATES)


def test_each_record_is_used_or_a_named_duplicate_or_skipped_or_in_quarantine(
    night: Night, put: Put, event: Put
) -> None:
    event(1, 2, 3, 4, 4, 5)
    used(put, 1, 2)
    unused(put, 3, "duplicate", "e1")
    unused(put, 4, "skipped", "bots")
    put(T.QUARANTINE_ROWS, {"row_id": digest(5)})
    cleaned(night)
    check = judged(night)
    assert (check.name, check.passed) == ("no event row lost", True)
    assert check.observed == (
        "all of 5 rows found: 2 in silver.interactions, 1 in quarantine, 1 skipped by rules, 1 duplicates"
    )


def no_trace(night: Night, put: Put) -> None:
    used(put, 1)


def duplicate_of_nothing(night: Night, put: Put) -> None:
    used(put, 1)
    unused(put, 2, "duplicate", "e9")


def removed_from_silver(night: Night, put: Put) -> None:
    used(put, 1, 2)
    night.lake.open(T.INTERACTIONS).delete("event_id = 'e2'")


def removed_together_with_what_it_doubled(night: Night, put: Put) -> None:
    used(put, 1)
    unused(put, 2, "duplicate", "e1")
    night.lake.open(T.INTERACTIONS).delete("event_id = 'e1'")


def removed_from_quarantine(night: Night, put: Put) -> None:
    used(put, 1)
    put(T.QUARANTINE_ROWS, {"row_id": digest(2)})
    night.lake.open(T.QUARANTINE_ROWS).delete("true")


def in_the_quarantine_of_items(night: Night, put: Put) -> None:
    used(put, 1)
    put(T.QUARANTINE_ROWS, {"row_id": digest(2), "kind": "items"})


@pytest.mark.parametrize(
    ("mishap", "lost"),
    [
        (no_trace, [2]),
        (duplicate_of_nothing, [2]),
        (removed_from_silver, [2]),
        (removed_together_with_what_it_doubled, [1, 2]),
        (removed_from_quarantine, [2]),
        (in_the_quarantine_of_items, [2]),
    ],
)
def test_a_row_that_is_missing_in_any_way_closes_the_gate_and_is_named(
    mishap: Callable[[Night, Put], None], lost: list[int], night: Night, put: Put, event: Put
) -> None:
    event(1, 2)
    mishap(night, put)
    cleaned(night)
    check = judged(night)
    named = "; ".join(f"{digest(n)[:12]} of {n}.json" for n in lost)
    assert check.observed.startswith(f"{len(lost)} of 2 rows are in none of the tables, e.g. {named} (")
    assert (check.passed, check.severity) == (False, "stop")
    assert "python -m spark_jobs.silver_interactions --date 1998-04-21 --all" in check.expected


def enforce(night: Night, override: str | None = None) -> None:
    own = again(night)
    own.arguments.override = override
    checks, versions = reconcile(own, "events")
    record_and_enforce(own, stages.DATA_GATE, checks, versions)


def test_a_lost_row_keeps_the_gate_closed_until_it_is_back_or_somebody_overrides(
    night: Night, put: Put, event: Put
) -> None:
    event(1, 2)
    used(put, 2)
    cleaned(night)
    for _ in range(2):
        with pytest.raises(GateClosedError, match="no event row lost is 1 of 2 rows"):
            enforce(night)
    used(put, 1)
    enforce(night)
    night.lake.open(T.INTERACTIONS).delete("event_id = 'e2'")
    enforce(night, override="ada: a known loss")
    enforce(night)
    assert judged(night).observed == "all of 0 rows found: "


def test_a_row_that_somebody_removes_after_an_open_gate_closes_the_next_one(night: Night, put: Put, event: Put) -> None:
    event(1, 2)
    used(put, 1, 2)
    cleaned(night)
    reconciled(night)
    assert judged(night).passed
    night.lake.open(T.INTERACTIONS).delete("event_id = 'e2'")
    assert judged(night).observed.startswith("1 of 1 rows")
    used(put, 2)
    assert judged(night).passed


def test_what_earlier_nights_brought_accounts_for_a_row_too(night: Night, put: Put, event: Put) -> None:
    event(1)
    used(put, 1)
    put(T.QUARANTINE_ROWS, {"row_id": digest(2)})  # by a run that was killed before its commit to silver
    unused(put, 3, "skipped", "bots")
    cleaned(night)
    reconciled(night)
    event(2, 3, 4, 5)
    unused(put, 4, "duplicate", "e1")
    unused(put, 5, "duplicate", "e1", occurred_at=NOON + timedelta(days=9))
    cleaned(night)
    assert (
        judged(night).observed
        == "all of 4 rows found: 0 in silver.interactions, 1 in quarantine, 1 skipped by rules, 2 duplicates"
    )


def test_a_night_of_new_rows_reads_only_what_is_new(night: Night, put: Put, event: Put) -> None:
    event(1)
    used(put, 1)
    cleaned(night)
    reconciled(night)
    for table in (T.BRONZE_EVENTS, T.INTERACTIONS):
        for file in Path(night.lake.path(table)).glob("*.parquet"):
            file.unlink()
    event(2, 3)
    used(put, 2)
    unused(put, 3, "duplicate", "e2")
    cleaned(night)
    assert judged(night).passed


def test_a_table_made_from_all_of_bronze_again_has_to_have_every_row(night: Night, put: Put, event: Put) -> None:
    event(1, 2, 3)
    used(put, 1, 2, 3)
    cleaned(night)
    reconciled(night)
    rows = night.lake.rows(T.INTERACTIONS, "event_id <> 'e2'")
    night.lake.replace(T.INTERACTIONS, rows, "true", "{}")
    check = judged(night)
    assert check.observed.startswith(f"1 of 1 rows are in none of the tables, e.g. {digest(2)[:12]} of 2.json")
    unused(put, 2, "skipped", "bots")
    assert judged(night).passed


def test_an_erased_record_is_not_lost(night: Night, put: Put, event: Put) -> None:
    event(1, 2)
    used(put, 1, 2)
    cleaned(night)
    reconciled(night)
    night.lake.open(T.BRONZE_EVENTS).delete(f"row_id = '{digest(2)}'")
    night.lake.open(T.INTERACTIONS).delete("event_id = 'e2'")
    assert judged(night).passed


def test_rows_that_silver_has_not_cleaned_yet_are_a_warning_and_replayed_ones_wait(
    night: Night, put: Put, event: Put
) -> None:
    event(1)
    used(put, 1)
    cleaned(night)
    event(2)
    put(T.BRONZE_EVENTS, {"row_id": digest(3), "file": f"quarantine/{digest(9)}"})
    lost, waiting = reconcile(again(night), "events")[0]
    assert lost.passed
    assert (waiting.name, waiting.observed, waiting.severity) == ("events that wait for silver", "1 rows", "warn")


def test_an_older_description_is_accounted_for_by_the_newer_one(night: Night, put: Put) -> None:
    put(T.BRONZE_ITEMS, *({"row_id": digest(n)} for n in (1, 2, 3)))
    put(T.ITEMS, {"row_id": digest(1)})
    stored = night.lake.rows(T.ITEMS).to_pylist()[0]
    night.lake.update(T.ITEMS, [stored | {"row_id": digest(2), "attributes": dict(stored["attributes"])}])
    unused(put, 3, "superseded", "i1", kind="items", source="catalogue")
    cleaned(night, "items")
    assert (
        judged(night, "items").observed
        == "all of 3 rows found: 1 in silver.items, 0 in quarantine, 0 skipped by rules, 2 older descriptions"
    )
    night.lake.open(T.ITEMS).delete("true")
    assert not judged(night, "items").passed


def test_nothing_is_claimed_of_a_lake_whose_silver_does_not_record_what_became_of_its_rows(
    night: Night, put: Put, event: Put
) -> None:
    event(1)
    assert reconcile(night, "events") == ([], {})
    used(put, 1)
    assert reconcile(night, "events") == ([], {})


def test_changes_that_are_gone_close_the_gate_with_the_reason(night: Night, put: Put, event: Put) -> None:
    event(1)
    used(put, 1)
    cleaned(night)
    night.lake.open(T.BRONZE_EVENTS).delete("true")
    night.lake.open(T.BRONZE_EVENTS).vacuum(0, dry_run=False, enforce_retention_duration=False)
    check = judged(night)
    assert not check.passed
    assert "the changes of bronze.events after version 0 cannot be read" in check.observed
