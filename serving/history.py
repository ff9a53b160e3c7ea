"""gold.histories and silver.users -> one user: their interactions up to a night, and their attributes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from nightloom.contracts import HISTORIES, USERS
from nightloom.lake import Lake
from nightloom.literals import sql_text


def read_history(lake: Lake, night: str, user: str, version: int | None = None) -> list[dict[str, Any]]:
    """A user's interactions up to a night, oldest first: item_id, weight, at, event_id. An unknown user has none."""
    if not lake.exists(HISTORIES):
        return []
    rows = lake.rows(HISTORIES, f"week <= DATE '{night}' AND {user_condition(user)}", version=version).to_pylist()
    names = ("item_id", "weight", "at", "event_id")
    weeks = sorted(rows, key=lambda row: row["week"])
    lists = [zip(row["items"], row["weights"], row["at"], row["event_ids"], strict=True) for row in weeks]
    events = [dict(zip(names, event, strict=True)) for week in lists for event in week]
    return [event for event in events if event["at"].date() <= date.fromisoformat(night)]


@dataclass(frozen=True)
class UserProfile:
    """One user's input to a scoring."""

    user: str
    events: list[dict[str, Any]]
    """See read_history()."""
    attributes: list[str]
    """From silver.users, each as attribute=value."""


def read_profile(lake: Lake, user: str, night: str, reads: dict[str, int]) -> UserProfile:
    """The profile at the table versions that a stage recorded; no attributes where it did not read silver.users."""
    events, version = read_history(lake, night, user, reads.get(HISTORIES.full_name)), reads.get(USERS.full_name)
    if version is None:
        return UserProfile(user, events, [])
    rows = lake.rows(USERS, user_condition(user), ("attributes",), version).to_pylist()
    return UserProfile(user, events, [f"{name}={value}" for row in rows for name, value in row["attributes"]])


def user_condition(user: str) -> str:
    """SQL for the rows of one user."""
    return f"user_id = {sql_text(user)}"
