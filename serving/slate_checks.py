"""The lists of a night, all together, against histories, items and the version served now -> checks for gate 3.

Everything is counted by DuckDB over all users; nothing is sampled, no Python per user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import duckdb
import pyarrow as pa

from models import registry
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, POPULAR, RECOMMENDATIONS, SIMILAR_ITEMS, USERS, Table
from nightloom.lake.described_items import describe_items
from nightloom.lake.duck import spilling_duckdb
from nightloom.lake.recommendations import nightly_lists
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.slate.rule_checks import check_rules
from serving.slate_served import popular_only_check, served_checks


@contextmanager
def lists_database(night: Night) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the night's lists and the tables they are checked against: `histories`, `items`, `popular`, ..."""
    with spilling_duckdb(night.settings.place("home")) as db:
        _load_tables(night, db)
        yield db


def slate_checks(night: Night, db: duckdb.DuckDBPyConnection) -> list[Check]:
    """The checks of this gate, without the expectations of the tables."""
    slate = night.settings.slate
    # A rule may end a list: it is full then when its first page is.
    length = slate.k if slate.rules else slate.stored
    found = _count_lists(db) | _count_users(db, length) | _count_items(db, slate.k) | _count_active_users(night, db)
    night.counts |= {"lists": found["rows"], "empty_lists": found["empty"], "known_users": found["known"]}
    if slate.by_score:
        found["order"] = found["rising"]
    if not slate.rules:
        found["needless"] = found["starved"]
    if not found["rows"] and registry.champion(night.settings) is None:
        return [popular_only_check(night), *_similar_items_check(db)]
    return [
        *_exact_checks(found),
        *_share_checks(night, found),
        *_similar_items_check(db),
        *_rule_checks(night, db),
        *served_checks(night, db),
    ]


def _rule_checks(night: Night, db: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    slate, gate = night.settings.slate, night.settings.gates.slate
    if slate.rules:
        describe_items(db, night.lake, night.settings, night.date, night.pin(ITEMS), night.pin(ITEM_STATS))
        severity: Literal["stop", "warn"] = "stop" if "places" in gate.stop_on else "warn"
        for found in check_rules(db, slate, night.date, gate.max_missed_places, severity):
            yield Check(found.name, found.passed, found.observed, found.expected, found.severity)


def _load_tables(night: Night, db: duckdb.DuckDBPyConnection) -> None:
    """Pin the inputs and copy the needed columns into DuckDB, which spills to disk: each table is read once."""
    of_night = f"night = DATE '{night.date}'"
    lists = nightly_lists(night.lake, night.date, night.pin(RECOMMENDATIONS))
    _store(db, "lists", _stream(night, RECOMMENDATIONS, f"SELECT {LIST} FROM ({lists})"))
    for name, table, columns, where in (
        ("weeks", HISTORIES, "user_id, items, at", f"week <= DATE '{night.date}'"),
        ("items", ITEMS, "item_id, available, categories", "true"),
    ):
        _copy(night, db, name, table, columns, where)
    _optional(night, db, "popular", POPULAR, "items", f"{of_night} AND segment = 'all'", "items VARCHAR[]")
    _optional(night, db, "similar_lists", SIMILAR_ITEMS, "item_id, items", of_night, "item_id VARCHAR, items VARCHAR[]")
    if night.settings.slate.user_attributes:
        _optional(night, db, "people", USERS, "user_id, attributes", "true", PEOPLE)
    else:
        db.execute(f"CREATE TEMP TABLE people ({PEOPLE})")
    end = f"TIMESTAMPTZ '{night.end.isoformat()}'"
    db.execute(
        f"""CREATE TEMP TABLE histories AS
        SELECT user_id, flatten(list(items[1:len(list_filter("at", lambda moment: moment < {end}))])) AS items,
        max(list_max(list_filter("at", lambda moment: moment < {end}))) AS last_at
        FROM weeks GROUP BY user_id HAVING min("at"[1]) < {end}"""
    )
    # An item that no source described may be listed; an item that is not available may not.
    db.execute(
        f"""CREATE TEMP TABLE listed AS
        SELECT item, count(*) AS times, bool_or(rank < {night.settings.slate.k}) AS first
        FROM (SELECT unnest(items) AS item, unnest(range(len(items))) AS rank FROM lists) GROUP BY item"""
    )


LIST = "user_id, items, scores, model_version"
PEOPLE = "user_id VARCHAR, attributes MAP(VARCHAR, VARCHAR)"


def _copy(night: Night, db: duckdb.DuckDBPyConnection, name: str, table: Table, columns: str, where: str) -> None:
    _store(db, name, _stream(night, table, f"SELECT {columns} FROM t WHERE {where}"))


def _stream(night: Night, table: Table, sql: str) -> pa.RecordBatchReader:
    """SQL over one table `t` at its pinned version, batch by batch: never the whole table in memory."""
    return night.lake.stream_query(sql, ("t", night.lake.open(table, night.pin(table))))


def _store(db: duckdb.DuckDBPyConnection, name: str, rows: pa.RecordBatchReader) -> None:
    db.register("incoming", rows)
    db.execute(f"CREATE TEMP TABLE {name} AS FROM incoming")


def _optional(
    night: Night, db: duckdb.DuckDBPyConnection, name: str, table: Table, columns: str, where: str, shape: str
) -> None:
    """Copy a table that the lake may lack."""
    if night.lake.exists(table):
        _copy(night, db, name, table, columns, where)
    else:
        db.execute(f"CREATE TEMP TABLE {name} ({shape})")


def _count_lists(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Counts of lists by their own content."""
    return _one(
        db,
        """WITH finite AS (SELECT *, [s FOR s IN scores IF isfinite(s)] AS good FROM lists)
        SELECT count(*) AS rows, count(DISTINCT user_id) AS users,
        count(*) FILTER (len(items) = 0) AS empty,
        count(*) FILTER (len(items) <> len(list_distinct(items))) AS duplicates,
        count(*) FILTER (len(items) <> len(scores)) AS unequal,
        count(*) FILTER (len(good) <> len(scores)) AS infinite,
        count(*) FILTER (good <> list_reverse_sort(good)) AS rising FROM finite""",
    )


def _count_users(db: duckdb.DuckDBPyConnection, stored: int) -> dict[str, Any]:
    """Coverage, seen items, and lists shorter than they could be: min(stored, unseen items that some list holds).

    `starved` are empty lists of users who have not seen all of these items.
    The model may not know yet an item that no list holds: no list is short for lack of it.
    """
    return _one(
        db,
        f"""WITH joined AS (SELECT h.user_id, l.items AS list, h.items AS seen
            FROM histories h LEFT JOIN lists l USING (user_id)),
        room AS (SELECT user_id, count(DISTINCT item) AS used FROM
            (SELECT user_id, unnest(seen) AS item FROM joined WHERE len(list) < {stored})
            WHERE item IN (SELECT item FROM listed) GROUP BY user_id)
        SELECT count(*) AS known, count(list) AS covered, count(*) FILTER (list_has_any(list, seen)) AS seen,
        count(*) FILTER (len(list) < least({stored}, (SELECT count(*) FROM listed) - coalesce(used, 0))) AS short,
        count(*) FILTER (len(list) = 0 AND (SELECT count(*) FROM listed) > coalesce(used, 0)) AS starved
        FROM joined LEFT JOIN room USING (user_id)""",
    )


def _count_items(db: duckdb.DuckDBPyConnection, k: int) -> dict[str, Any]:
    """Entries that must not be listed; how much of the catalogue (described or listed, available) first pages show.

    The first page of a user with an empty list is that of the popular list.
    """
    return _one(
        db,
        f"""WITH stand_in AS (SELECT unnest(items[1:{k}]) AS item FROM popular
            WHERE EXISTS (SELECT 1 FROM lists WHERE len(lists.items) = 0)),
        entries AS (FROM listed UNION ALL SELECT item, 0, true FROM stand_in),
        shown AS (SELECT item, sum(times) AS times, bool_or(first) AS first FROM entries GROUP BY item),
        known AS (SELECT times, first, coalesce(available, true) AS available
            FROM shown FULL JOIN items ON item = item_id)
        SELECT coalesce(sum(times) FILTER (NOT available), 0) AS unavailable,
        count(*) FILTER (first AND available) AS shown, count(*) FILTER (available) AS available FROM known""",
    )


def _count_active_users(night: Night, db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Recently active users: those with a list, and those whose list is that of an unknown user."""
    k, since = night.settings.slate.k, night.end - timedelta(days=night.settings.gates.slate.active_days)
    return _one(
        db,
        f"""WITH everybody AS (SELECT any_value(items) AS items FROM popular),
        active AS (SELECT l.items[1:{k}] AS first, list_filter(e.items, lambda item: NOT list_contains(h.items, item))
            [1:{k}] AS stranger FROM histories h CROSS JOIN everybody e LEFT JOIN lists l USING (user_id)
            WHERE h.last_at >= TIMESTAMPTZ '{since.isoformat()}')
        SELECT count(*) AS active, count(first) AS active_covered,
        count(*) FILTER (coalesce(len(first), 0) = 0 OR list_sort(first) = list_sort(stranger)) AS fallback
        FROM active""",
    )


def _exact_checks(counted: dict[str, Any]) -> list[Check]:
    """Checks that every list must pass."""
    rows, users = counted["rows"], counted["users"]
    return [
        Check("rows", rows == users > 0, f"{rows:,} lists of {users:,} users", "one list a user, at least one"),
        *(
            Check(name.replace(" ", "_"), counted[count] == 0, f"{counted[count]:,} {unit}", f"no {name}")
            for name, count, unit in (
                ("duplicates within a list", "duplicates", "lists"),
                ("list with unequal items and scores", "unequal", "lists"),
                ("infinite or missing score", "infinite", "lists"),
                ("rising score", "order", "lists"),
                ("seen item", "seen", "lists"),
                ("unavailable item", "unavailable", "entries"),
                ("empty list with items left", "needless", "lists"),
            )
            if count in counted
        ),
    ]


def _similar_items_check(db: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    """Lists of similar items; no check where the night has none."""
    found = _one(
        db,
        """WITH entries AS (SELECT item_id AS owner, unnest(items) AS item FROM similar_lists)
        SELECT (SELECT count(*) FROM similar_lists) AS rows, count(*) FILTER (owner = item) AS itself,
        count(*) FILTER (NOT available) AS unavailable FROM entries LEFT JOIN items ON item = items.item_id""",
    )
    if found["rows"]:
        observed = f"{found['itself']:,} similar to themselves, {found['unavailable']:,} unavailable"
        passed = not found["itself"] + found["unavailable"]
        yield Check("similar_items", passed, observed, "available items, not itself")


def _share_checks(night: Night, counted: dict[str, Any]) -> list[Check]:
    """Checks that most lists must pass."""
    gate = night.settings.gates.slate
    return [
        _share("coverage", counted["covered"], counted["known"], gate.min_coverage, "known users have a list"),
        *_active_checks(night, counted),
        _share("fill", counted["covered"] - counted["short"], counted["covered"], gate.min_fill, "lists are full"),
        _share("catalogue", counted["shown"], counted["available"], gate.min_catalogue, "items are in a first page"),
        _empty_lists_check(night, counted),
    ]


def _empty_lists_check(night: Night, counted: dict[str, Any]) -> Check:
    """A user who has seen everything has an empty list: a bot, or anybody in a small shop."""
    gate, empty, lists = night.settings.gates.slate, counted["empty"], counted["rows"]
    words = f"{empty / lists if lists else 0:.4f} ({empty:,} of {lists:,} lists; these users get the popular list)"
    severity = "stop" if "empty" in gate.stop_on else "warn"
    return Check("empty_lists", empty <= gate.max_empty * lists, words, f"at most {gate.max_empty}", severity)


def _active_checks(night: Night, counted: dict[str, Any]) -> Iterator[Check]:
    """Checks over recently active users; none where there are none."""
    gate, active = night.settings.gates.slate, counted["active"]
    if active:
        what = f"users of the last {gate.active_days} days have a list"
        yield _share("active_coverage", counted["active_covered"], active, gate.min_coverage, what)
        alike = counted["fallback"]
        words = f"{alike / active:.4f} ({alike:,} of {active:,} active users get what a stranger gets)"
        severity = "stop" if "fallback" in gate.stop_on else "warn"
        yield Check("fallback", alike <= gate.max_fallback * active, words, f"at most {gate.max_fallback}", severity)


def _share(name: str, part: int, whole: int, least: float, what: str) -> Check:
    share = part / whole if whole else 0.0
    return Check(name, share >= least, f"{share:.4f} ({part:,} of {whole:,} {what})", f"at least {least}")


def _one(db: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The one row of a query, by column."""
    result = db.execute(sql)
    names = [column[0] for column in result.description]
    (row,) = result.fetchall()
    return dict(zip(names, row, strict=True))
