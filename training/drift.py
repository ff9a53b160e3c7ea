"""Whether the world has moved since the last training: what people do, and how their lists do, now against then.

Inputs: silver.interactions of the last `training.holdout_days` against as many up to the training's night, on which its
models were judged. Event types; and items by how popular they were before those days, in tenths of all events then, so
that neither of the two windows says which items are popular.

Outcomes: gold.outcomes since the training. A day is bad when the share of users who found something they liked is lower
than on the first days by `training.max_outcome_loss`, and by more than chance explains. Two bad days of the last five,
the newest among them, are a reason (the rule of Databricks' MLOps Stacks).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from nightloom.contracts import INTERACTIONS, OUTCOMES
from nightloom.night.context import Night
from nightloom.psi import Bins, by_chance, most_changed, psi
from nightloom.settings import Training

Reason = tuple[bool, str]
"""Whether it holds, and what was found, in words."""
Row = Mapping[str, Any]
TENTHS = 10
WEEK, NEWEST, BAD = 7, 5, 2
"""Days that outcomes are compared with, newest days looked at, bad ones among them that are too many."""
CHANCE = 2.0
"""Standard errors by which a day must be worse."""


def inputs(night: Night, trained: date) -> Iterator[Reason]:
    """Drift of event types and of item popularity."""
    events, items = (_counted(night, trained, column) for column in ("event", "item_id"))
    people_now, people_then = _people(night, trained)
    if not (people_now and people_then):
        return
    tenths = _tenths(items)
    compared: dict[str, tuple[Bins, Bins]] = {
        "event types": (_of(events, "now"), _of(events, "then")),
        "items by popularity": (_binned(items, tenths, "now"), _binned(items, tenths, "then")),
    }
    for what, (now, then) in compared.items():
        if (bins := len({**now, **then})) > 1:
            yield _drifted(night.settings.training, what, now, then, by_chance(bins, people_now, people_then))


def _of(rows: Sequence[Row], when: str) -> Bins:
    return {row["name"]: row[when] for row in rows}


def _drifted(rules: Training, what: str, now: Bins, then: Bins, chance: float) -> Reason:
    found, limit = psi(now, then), max(rules.max_drift, chance)
    return found > limit, f"drift of {what}: {found:.3f}, {limit:.3f} is due; {most_changed(now, then)}"


def _windows(night: Night, trained: date) -> dict[str, str]:
    """SQL conditions: `now`, `then`, and what was `before` then."""
    days = timedelta(night.settings.training.holdout_days)
    return {
        "before": f"occurred_at < {_day(trained - days + timedelta(1))}",
        "then": _between(trained - days, trained),
        "now": _between(night.date - days, night.date),
    }


def _between(after: date, last: date) -> str:
    """SQL: on a day after one, up to another."""
    return f"occurred_at >= {_day(after + timedelta(1))} AND occurred_at < {_day(last + timedelta(1))}"


def _day(day: date) -> str:
    return f"TIMESTAMP '{day}T00:00:00Z'"


def _counted(night: Night, trained: date, column: str) -> list[dict[str, Any]]:
    """Events of each value of a column in each window."""
    counts = [f"sum(CASE WHEN {when} THEN 1 ELSE 0 END) AS {name}" for name, when in _windows(night, trained).items()]
    found: list[dict[str, Any]] = night.lake.rows(
        INTERACTIONS, f"occurred_at < {_day(night.date + timedelta(1))} GROUP BY {column} ORDER BY before DESC, name",
        [f"{column} AS name", *counts], night.pin(INTERACTIONS),
    ).to_pylist()  # fmt: skip
    return found


def _people(night: Night, trained: date) -> tuple[int, int]:
    """Distinct users now and then."""
    windows = _windows(night, trained)
    columns = [f"count(DISTINCT CASE WHEN {windows[name]} THEN user_id END) AS {name}" for name in ("now", "then")]
    (row,) = night.lake.rows(INTERACTIONS, "true", columns, night.pin(INTERACTIONS)).to_pylist()
    return row["now"], row["then"]


def _tenths(items: Sequence[Row]) -> dict[str, str]:
    """Item -> the tenth of past events that it is in; the items that the most popular tenth takes are few."""
    total, before, found = sum(row["before"] for row in items), 0, dict[str, str]()
    for row in items:
        tenth = TENTHS * before // total + 1 if row["before"] else 0
        found[row["name"]] = f"tenth {tenth} of past events" if tenth else "items of no past event"
        before += row["before"]
    return found


def _binned(items: Sequence[Row], bins: Mapping[str, str], when: str) -> Counter[str]:
    counted = Counter[str]()
    for row in items:
        counted[bins[row["name"]]] += row[when]
    return counted


def outcomes(night: Night, trained: date) -> Iterator[Reason]:
    """How the lists did on the newest days; the lists of the first night after the training are the older model's."""
    if not night.lake.exists(OUTCOMES):
        return
    days = f"day > DATE '{trained + timedelta(1)}' AND day <= DATE '{night.date}'"
    where = f"segment = 'all' AND active_users > 0 AND {days}"
    columns = ("day", "active_users", "users_hit")
    rows = night.lake.rows(OUTCOMES, f"{where} ORDER BY day", columns, night.pin(OUTCOMES)).to_pylist()
    if len(rows) > NEWEST:
        yield _worse(night.settings.training, rows[:-NEWEST][:WEEK], rows[-NEWEST:])


def _worse(rules: Training, first: Sequence[Row], newest: Sequence[Row]) -> Reason:
    active, hit = (sum(row[column] for row in first) for column in ("active_users", "users_hit"))
    bad = [row for row in newest if _bad(rules, row, hit, active)]
    holds = len(bad) >= BAD and bad[-1] is newest[-1]
    today, before = newest[-1]["users_hit"] / newest[-1]["active_users"], hit / active
    return holds, (
        f"outcomes: {today:.1%} of the active users of {newest[-1]['day']} liked an item of their list, {before:.1%} "
        f"on the first days; {len(bad)} of the last {len(newest)} days are worse by {rules.max_outcome_loss:.0%}"
    )


def _bad(rules: Training, row: Row, hit: int, active: int) -> bool:
    """Whether a day is worse than declared, and than two samples of one share would differ."""
    day_active, day_hit = row["active_users"], row["users_hit"]
    then, now, both = hit / active, day_hit / day_active, (hit + day_hit) / (active + day_active)
    error = math.sqrt(both * (1 - both) * (1 / active + 1 / day_active))
    return bool(now <= (1 - rules.max_outcome_loss) * then and then - now > CHANCE * error)
