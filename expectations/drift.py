"""How much the night's interactions differ from those of the nights before: event types, values, hours, categories.

silver.interactions, silver.items -> one population stability index each (nightloom/psi.py). SQL counts them: no row of
an earlier night comes into memory. Great Expectations' own expectation for this (Kullback-Leibler) needs the rows, and
is infinite where a bin was empty before. The limit is the declared one, or what chance exceeds once in a thousand
nights, whichever is larger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from expectations.measure import Measure
from nightloom.contracts import INTERACTIONS, ITEMS
from nightloom.night.context import Night
from nightloom.psi import critical_psi, largest_change, psi

DECILES = 9
"""Inner edges of the value's bins, taken from the nights before."""


def drift(night: Night, nights: Sequence[date]) -> Iterator[Measure]:
    """A measure for each distribution with two bins or more; without `nights` to compare with, it is only recorded."""
    if not night.lake.exists(INTERACTIONS):
        return
    if not nights:
        for what in ("event types", "hours of the day"):
            yield Measure(INTERACTIONS, f"drift of {what}", None, "no past yet")
        return
    users_now, users_before = _users(night, nights)
    if not (users_now and users_before):
        return
    for what, (now, before) in _bin_counts(night, nights).items():
        if (bins := len({**now, **before})) > 1:
            limit = max(night.settings.gates.data.max_drift, critical_psi(bins, users_now, users_before))
            severity = "stop" if "drift" in night.settings.gates.data.stop_on else "warn"
            observed = f"{psi(now, before):.3f} against {len(nights)} nights; {largest_change(now, before)}"
            yield Measure(INTERACTIONS, f"drift of {what}", psi(now, before), observed, None, limit, severity)


def _of_nights(night: Night, nights: Sequence[date]) -> str:
    dates = ", ".join(f"DATE '{each}'" for each in [*nights, night.date])
    return f"night IN ({dates})"


def _query(night: Night, sql: str) -> list[dict[str, Any]]:
    tables = [("t", night.lake.open(INTERACTIONS, night.pin(INTERACTIONS)))]
    if night.lake.exists(ITEMS):
        tables.append(("i", night.lake.open(ITEMS, night.pin(ITEMS))))
    found: list[dict[str, Any]] = night.lake.query(sql, *tables).to_pylist()
    return found


def _users(night: Night, nights: Sequence[date]) -> tuple[int, int]:
    """Distinct users of the night and of the nights before."""
    found = _query(
        night,
        f"""SELECT night = DATE '{night.date}' AS is_now, count(DISTINCT user_id) AS n
            FROM t WHERE {_of_nights(night, nights)} GROUP BY 1""",
    )
    users = {row["is_now"]: row["n"] for row in found}
    return users.get(True, 0), users.get(False, 0)


def _bin_counts(night: Night, nights: Sequence[date]) -> dict[str, tuple[Counter[Any], Counter[Any]]]:
    """Distribution -> events by bin, now and before. One pass over the interactions, one for categories."""
    rows = _query(
        night,
        f"""SELECT night = DATE '{night.date}' AS is_now, event,
                   concat('hour ', CAST(date_part('hour', occurred_at) AS INT)) AS hour,
                   {_bin(_edges(night, nights))} AS bin, count(*) AS n
            FROM t WHERE {_of_nights(night, nights)} GROUP BY 1, 2, 3, 4""",
    )
    counted = {
        "event types": _split(rows, "event"),
        "values": _split([row for row in rows if row["bin"] is not None], "bin"),
        "hours of the day": _split(rows, "hour"),
    }
    if night.lake.exists(ITEMS):
        counted["categories"] = _split(_query(night, _categories(night, nights)), "category")
    return counted


def _split(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[Counter[Any], Counter[Any]]:
    now, before = Counter[Any](), Counter[Any]()
    for row in rows:
        (now if row["is_now"] else before)[row[name]] += row["n"]
    return now, before


def _edges(night: Night, nights: Sequence[date]) -> list[float]:
    """Deciles of the value on the nights before; fewer where many values are equal, none where there are no values."""
    deciles = ", ".join(f"approx_percentile_cont(value, {k / 10}) AS d{k}" for k in range(1, DECILES + 1))
    past = ", ".join(f"DATE '{each}'" for each in nights)
    (row,) = _query(night, f"SELECT {deciles} FROM t WHERE night IN ({past})")
    return sorted({edge for edge in row.values() if edge is not None})


def _bin(edges: Sequence[float]) -> str:
    """SQL: the bin of a value, in words."""
    if not edges:
        return "CASE WHEN value IS NOT NULL THEN 'any value' END"
    steps = " ".join(f"WHEN value <= {edge} THEN 'values up to {edge:g}'" for edge in edges)
    return f"CASE WHEN value IS NULL THEN NULL {steps} ELSE 'values above {edges[-1]:g}' END"


def _categories(night: Night, nights: Sequence[date]) -> str:
    """SQL: interactions by the categories of their items."""
    return f"""
        WITH touched AS (SELECT night = DATE '{night.date}' AS is_now, item_id, count(*) AS n
                         FROM t WHERE {_of_nights(night, nights)} GROUP BY 1, 2),
             named AS (SELECT is_now, n, unnest(i.categories) AS category
                       FROM touched JOIN i ON touched.item_id = i.item_id)
        SELECT is_now, category, sum(n) AS n FROM named GROUP BY 1, 2"""
