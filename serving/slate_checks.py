"""The lists of a night, measured as a whole against histories, items and the version served now -> checks for gate 3.

Everything is counted by DuckDB over all users; nothing is sampled, no Python per user.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from nightloom.manifest import Check, Night
from nightloom.tables import HISTORIES, ITEMS, RECOMMENDATIONS
from serving.lists import connect, stream
from serving.stores import versions
from serving.stores.lmdb import Reader, Snapshot

SERVED_BATCH = 10_000
"""Served lists handed to DuckDB at a time."""


def slate_checks(night: Night) -> list[Check]:
    """Every check of this gate but the tables' own expectations."""
    with connect(night.settings.place("home")) as db:
        _tables(night, db)
        measured = _lists(db) | _against_histories(db, night.settings.slate.stored) | _against_items(db)
        night.counts |= {"lists": measured["rows"], "known_users": measured["known"]}
        return [*_exact(measured), *_shares(night, measured), _overlap(night, db)]


def _tables(night: Night, db: duckdb.DuckDBPyConnection) -> None:
    """Pin the inputs and copy what is needed of them into DuckDB, which spills to disk: each is read once."""
    of_night = f"night = DATE '{night.date}'"
    for name, table, columns, where in (
        ("lists", RECOMMENDATIONS, "user_id, items, scores, model_version", of_night),
        ("weeks", HISTORIES, "user_id, items, at", f"week <= DATE '{night.date}'"),
        ("items", ITEMS, "item_id, available", "true"),
    ):
        incoming = stream(night.lake, table, night.pin(table), where, columns)
        db.register("incoming", incoming)
        db.execute(f"CREATE TEMP TABLE {name} AS FROM incoming")
    end = f"TIMESTAMPTZ '{night.end.isoformat()}'"
    db.execute(
        f"""CREATE TEMP TABLE histories AS
        SELECT user_id, flatten(list(items[1:len(list_filter("at", lambda moment: moment < {end}))])) AS items
        FROM weeks GROUP BY user_id HAVING min("at"[1]) < {end}"""
    )
    # An item that nobody described may be listed, one that is not available may not.
    db.execute(
        f"""CREATE TEMP TABLE listed AS
        SELECT item, count(*) AS times, bool_or(rank < {night.settings.slate.k}) AS first
        FROM (SELECT unnest(items) AS item, unnest(range(len(items))) AS rank FROM lists) GROUP BY item"""
    )


def _lists(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What a list must hold by itself."""
    return _one(
        db,
        """WITH finite AS (SELECT *, [s FOR s IN scores IF isfinite(s)] AS good FROM lists)
        SELECT count(*) AS rows, count(DISTINCT user_id) AS users,
        count(*) FILTER (len(items) <> len(list_distinct(items))) AS duplicates,
        count(*) FILTER (len(items) <> len(scores)) AS unequal,
        count(*) FILTER (len(good) <> len(scores)) AS infinite,
        count(*) FILTER (good <> list_reverse_sort(good)) AS rising FROM finite""",
    )


def _against_histories(db: duckdb.DuckDBPyConnection, stored: int) -> dict[str, Any]:
    """Coverage, seen items, and lists shorter than they could be: min(stored, items that anybody is listed, unseen).

    What no list holds, the model may not know yet: nobody's list is short for want of it.
    """
    return _one(
        db,
        f"""WITH joined AS (SELECT h.user_id, l.items AS list, h.items AS seen
            FROM histories h LEFT JOIN lists l USING (user_id)),
        room AS (SELECT user_id, count(DISTINCT item) AS used FROM
            (SELECT user_id, unnest(seen) AS item FROM joined WHERE len(list) < {stored})
            WHERE item IN (SELECT item FROM listed) GROUP BY user_id)
        SELECT count(*) AS known, count(list) AS covered, count(*) FILTER (list_has_any(list, seen)) AS seen,
        count(*) FILTER (len(list) < least({stored}, (SELECT count(*) FROM listed) - coalesce(used, 0))) AS short
        FROM joined LEFT JOIN room USING (user_id)""",
    )


def _against_items(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Entries that may not be, and how much of the catalogue (described or listed, available) somebody sees first."""
    return _one(
        db,
        """WITH known AS (SELECT coalesce(item, item_id) AS item, times, first, coalesce(available, true) AS available
            FROM listed FULL JOIN items ON item = item_id)
        SELECT coalesce(sum(times) FILTER (NOT available), 0) AS unavailable,
        count(*) FILTER (first AND available) AS shown, count(*) FILTER (available) AS available FROM known""",
    )


def _exact(measured: dict[str, Any]) -> list[Check]:
    """What must hold for every list."""
    rows, users = measured["rows"], measured["users"]
    return [
        Check("rows", rows == users > 0, f"{rows:,} lists of {users:,} users", "one list a user, at least one"),
        *(
            Check(name.replace(" ", "_"), measured[count] == 0, f"{measured[count]:,} {unit}", f"no {name}")
            for name, count, unit in (
                ("duplicates within a list", "duplicates", "lists"),
                ("list with unequal items and scores", "unequal", "lists"),
                ("infinite or missing score", "infinite", "lists"),
                ("rising score", "rising", "lists"),
                ("seen item", "seen", "lists"),
                ("unavailable item", "unavailable", "entries"),
            )
        ),
    ]


def _shares(night: Night, measured: dict[str, Any]) -> list[Check]:
    """What must hold for most."""
    gate = night.settings.gates.slate
    return [
        _share("coverage", measured["covered"], measured["known"], gate.min_coverage, "known users have a list"),
        _share("fill", measured["covered"] - measured["short"], measured["covered"], gate.min_fill, "lists are full"),
        _share("catalogue", measured["shown"], measured["available"], gate.min_catalogue, "items are in a first page"),
    ]


def _share(name: str, part: int, whole: int, least: float, what: str) -> Check:
    share = part / whole if whole else 0.0
    return Check(name, share >= least, f"{share:.4f} ({part:,} of {whole:,} {what})", f"at least {least}")


def _overlap(night: Night, db: duckdb.DuckDBPyConnection) -> Check:
    """Mean share of the first k that a user with the same model version still has; stops only where it is asked for."""
    least, k = night.settings.gates.slate.min_overlap, night.settings.slate.k
    severity = "stop" if least > 0 else "warn"
    if versions.current(night.settings.place("store")) is None:
        return Check("overlap", True, "nothing is served yet", f"at least {least}", severity)
    served = Reader(night.settings.place("store")).now()
    db.register("served", pa.RecordBatchReader.from_batches(SERVED, _served(served)))
    found = _one(
        db,
        f"""WITH parsed AS (SELECT from_json(value, '{SERVED_SHAPE}') AS was FROM served)
        SELECT count(*) AS users, avg(len(list_intersect(items[1:{k}], was.items[1:{k}])) / least({k}, len(was.items)))
            AS overlap FROM lists JOIN parsed ON user_id = was.user AND model_version = was.model_version""",
    )
    if not found["users"]:
        return Check("overlap", True, "no list of the same model version is served", f"at least {least}", severity)
    words = f"{found['overlap']:.4f} over {found['users']:,} users against {versions.name(served.version)}"
    return Check("overlap", found["overlap"] >= least, words, f"at least {least}", severity)


SERVED_SHAPE = '{"user":"VARCHAR","model_version":"VARCHAR","items":["VARCHAR"]}'
SERVED = pa.schema([("value", pa.string())])


def _served(snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
    """The served users' values, as they are, in batches."""
    values: list[bytes] = []
    for value in snapshot.values("users"):
        values.append(bytes(value))
        if len(values) == SERVED_BATCH:
            yield pa.record_batch([pa.array(values, pa.string())], schema=SERVED)
            values = []
    yield pa.record_batch([pa.array(values, pa.string())], schema=SERVED)


def _one(db: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The one row of a query, by column."""
    result = db.execute(sql)
    names = [column[0] for column in result.description]
    (row,) = result.fetchall()
    return dict(zip(names, row, strict=True))
