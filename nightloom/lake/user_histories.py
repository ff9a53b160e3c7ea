"""gold.histories and silver.users -> a row per user, by DuckDB; gold_histories.py has the same for Spark."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

ATTRIBUTES = "list_transform(map_entries(attributes), lambda entry: entry.key || '=' || entry.value)"
"""The map of silver.users as a list of NAME=VALUE."""


def user_histories(end: datetime, weeks: str, described: str, join: Literal["LEFT", "FULL"] = "FULL") -> str:
    """SELECT of user_id, items, weights, at (microseconds since 1970), attributes: events before `end`, oldest first.

    `weeks` is a view of gold.histories; `described` one of user_id and attributes (NAME=VALUE). FULL: also users who
    have attributes and no event.
    """
    before = f"TIMESTAMPTZ '{end.isoformat()}'"
    return f"""
    WITH cut AS (SELECT user_id, week, items, weights, "at",
        len(list_filter("at", lambda moment: moment < {before})) AS n FROM {weeks} WHERE week < {before}),
    by_user AS (SELECT user_id, flatten(list(items[:n] ORDER BY week)) AS items,
        flatten(list(weights[:n] ORDER BY week)) AS weights,
        flatten(list(list_transform("at"[:n], lambda moment: epoch_us(moment)) ORDER BY week)) AS "at"
        FROM cut WHERE n > 0 GROUP BY user_id)
    SELECT user_id, coalesce(items, []::VARCHAR[]) AS items, coalesce(weights, []::FLOAT[]) AS weights,
        coalesce("at", []::BIGINT[]) AS "at", coalesce(attributes, []::VARCHAR[]) AS attributes
    FROM by_user {join} JOIN {described} USING (user_id)"""
