"""gold.histories and silver.users -> one user: what they did up to a night, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from nightloom.contracts import HISTORIES, USERS
from nightloom.lake import Lake


def history_of(lake: Lake, night: str, user: str, version: int | None = None) -> list[dict[str, Any]]:
    """A user's interactions up to a night, oldest first: item_id, weight, at, event_id. Unknown user: none."""
    if not lake.exists(HISTORIES):
        return []
    rows = lake.rows(HISTORIES, f"week <= DATE '{night}' AND {of_user(user)}", version=version).to_pylist()
    names = ("item_id", "weight", "at", "event_id")
    weeks = sorted(rows, key=lambda row: row["week"])
    lists = [zip(row["items"], row["weights"], row["at"], row["event_ids"], strict=True) for row in weeks]
    events = [dict(zip(names, event, strict=True)) for week in lists for event in week]
    return [event for event in events if event["at"].date() <= date.fromisoformat(night)]


@dataclass(frozen=True)
class Person:
    """One user as a scoring sees them."""

    user: str
    events: list[dict[str, Any]]
    """See history_of()."""
    words: list[str]
    """What silver.users says, attribute=value each."""


def person(lake: Lake, user: str, night: str, reads: dict[str, int]) -> Person:
    """By table versions as a stage notes them: without one of silver.users, what it says was not read."""
    events, version = history_of(lake, night, user, reads.get(HISTORIES.full_name)), reads.get(USERS.full_name)
    if version is None:
        return Person(user, events, [])
    rows = lake.rows(USERS, of_user(user), ("attributes",), version).to_pylist()
    return Person(user, events, [f"{name}={value}" for row in rows for name, value in row["attributes"]])


def of_user(user: str) -> str:
    """SQL for the rows of one user."""
    return "user_id = '" + user.replace("'", "''") + "'"
