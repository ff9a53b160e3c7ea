"""Drift since the last training: of the interactions (inputs), and of what users find in their lists (outcomes).

Inputs: silver.interactions of the last `training.holdout_days` days against the same number of days up to the last
training's night, by the population stability index. Compared are the event types, and the items by how popular they
were before both windows: in deciles of the events, so that neither window decides which items are popular.

Outcomes: gold.outcomes since the training. A day is bad if the share of users who found something they liked is lower
than on the first days by `training.max_outcome_loss`, and significantly lower. Retraining is due if two of the last
five days are bad, the newest among them (the rule of Databricks' MLOps Stacks).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from nightloom.contracts import INTERACTIONS, OUTCOMES
from nightloom.night.context import Night
from nightloom.psi import BinCounts, critical_psi, largest_change, psi
from nightloom.settings import Training

Reason = tuple[bool, str]
"""Whether it holds, and a text with what was found."""
Row = Mapping[str, Any]
DECILES = 10
REFERENCE_DAYS, RECENT_DAYS, MAX_BAD_DAYS = 7, 5, 1
"""First days that outcomes are compared with; newest days that are checked; bad days among those that are tolerated."""
STANDARD_ERRORS = 2.0
"""A day is significantly lower if it is lower by more than this many standard errors."""


def input_drift(night: Night, trained_on: date) -> Iterator[Reason]:
    """Drift of event types and of item popularity; nothing if one of the two windows is empty."""
    events, items = (_counts_by_window(night, trained_on, column) for column in ("event", "item_id"))
    users_now, users_before = _count_users(night, trained_on)
    if not (users_now and users_before):
        return
    deciles = _popularity_deciles(items)
    compared: dict[str, tuple[BinCounts, BinCounts]] = {
        "event types": (_event_counts(events, "now"), _event_counts(events, "reference")),
        "items by popularity": (_decile_counts(items, deciles, "now"), _decile_counts(items, deciles, "reference")),
    }
    for what, (now, reference) in compared.items():
        if (bins := len({**now, **reference})) > 1:
            critical = critical_psi(bins, users_now, users_before)
            yield _drift_reason(night.settings.training, what, now, reference, critical)


def _drift_reason(rules: Training, what: str, now: BinCounts, reference: BinCounts, critical: float) -> Reason:
    value, limit = psi(now, reference), max(rules.max_drift, critical)
    return value > limit, f"drift of {what}: {value:.3f}, {limit:.3f} is due; {largest_change(now, reference)}"


def _windows(night: Night, trained_on: date) -> dict[str, str]:
    """SQL conditions of three windows: `now`, the `reference`, and all days `before` the reference."""
    days = timedelta(night.settings.training.holdout_days)
    return {
        "before": f"occurred_at < {_midnight(trained_on - days + timedelta(1))}",
        "reference": _between(trained_on - days, trained_on),
        "now": _between(night.date - days, night.date),
    }


def _between(after: date, last: date) -> str:
    """SQL: on a day later than `after`, and not later than `last`."""
    return f"occurred_at >= {_midnight(after + timedelta(1))} AND occurred_at < {_midnight(last + timedelta(1))}"


def _midnight(day: date) -> str:
    return f"TIMESTAMP '{day}T00:00:00Z'"


def _counts_by_window(night: Night, trained_on: date, column: str) -> list[dict[str, Any]]:
    """Rows of a column's value (`name`) and its events in each window, most events before the reference first."""
    windows = _windows(night, trained_on)
    counts = [f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END) AS {name}" for name, condition in windows.items()]
    until_now = f"occurred_at < {_midnight(night.date + timedelta(1))}"
    rows: list[dict[str, Any]] = night.lake.rows(
        INTERACTIONS, f"{until_now} GROUP BY {column} ORDER BY before DESC, name",
        [f"{column} AS name", *counts], night.pin(INTERACTIONS),
    ).to_pylist()  # fmt: skip
    return rows


def _count_users(night: Night, trained_on: date) -> tuple[int, int]:
    """Distinct users now and in the reference window."""
    windows = _windows(night, trained_on)
    names = ("now", "reference")
    columns = [f"count(DISTINCT CASE WHEN {windows[name]} THEN user_id END) AS {name}" for name in names]
    (row,) = night.lake.rows(INTERACTIONS, "true", columns, night.pin(INTERACTIONS)).to_pylist()
    return row["now"], row["reference"]


def _popularity_deciles(items: Sequence[Row]) -> dict[str, str]:
    """Item -> name of the decile of past events that it falls into; few items make up the most popular decile."""
    total, earlier_events, deciles = sum(row["before"] for row in items), 0, dict[str, str]()
    for row in items:
        decile = DECILES * earlier_events // total + 1 if row["before"] else 0
        deciles[row["name"]] = f"tenth {decile} of past events" if decile else "items of no past event"
        earlier_events += row["before"]
    return deciles


def _event_counts(rows: Sequence[Row], window: str) -> BinCounts:
    return {row["name"]: row[window] for row in rows}


def _decile_counts(items: Sequence[Row], deciles: Mapping[str, str], window: str) -> Counter[str]:
    counts = Counter[str]()
    for row in items:
        counts[deciles[row["name"]]] += row[window]
    return counts


def outcome_drift(night: Night, trained_on: date) -> Iterator[Reason]:
    """Lists of the newest days against those of the first days; nothing while there are too few days.

    The lists of the first day after the training were made by the older model, so that day does not count.
    """
    if not night.lake.exists(OUTCOMES):
        return
    days = f"day > DATE '{trained_on + timedelta(1)}' AND day <= DATE '{night.date}'"
    where = f"segment = 'all' AND active_users > 0 AND {days}"
    columns = ("day", "active_users", "users_hit")
    rows = night.lake.rows(OUTCOMES, f"{where} ORDER BY day", columns, night.pin(OUTCOMES)).to_pylist()
    if len(rows) > RECENT_DAYS:
        yield _outcome_reason(night.settings.training, rows[:-RECENT_DAYS][:REFERENCE_DAYS], rows[-RECENT_DAYS:])


def _outcome_reason(rules: Training, reference: Sequence[Row], recent: Sequence[Row]) -> Reason:
    active, hit = (sum(row[column] for row in reference) for column in ("active_users", "users_hit"))
    bad = [row for row in recent if _is_bad_day(rules, row, hit, active)]
    holds = len(bad) > MAX_BAD_DAYS and bad[-1] is recent[-1]
    newest, before = recent[-1]["users_hit"] / recent[-1]["active_users"], hit / active
    return holds, (
        f"outcomes: {newest:.1%} of the active users of {recent[-1]['day']} liked an item of their list, {before:.1%} "
        f"on the first days; {len(bad)} of the last {len(recent)} days are worse by {rules.max_outcome_loss:.0%}"
    )


def _is_bad_day(rules: Training, row: Row, hit: int, active: int) -> bool:
    """Whether a day's share is lower than the settings tolerate, and significantly so (two-proportion z-test)."""
    day_active, day_hit = row["active_users"], row["users_hit"]
    before, now, pooled = hit / active, day_hit / day_active, (hit + day_hit) / (active + day_active)
    standard_error = math.sqrt(pooled * (1 - pooled) * (1 / active + 1 / day_active))
    return bool(now <= (1 - rules.max_outcome_loss) * before and before - now > STANDARD_ERRORS * standard_error)
