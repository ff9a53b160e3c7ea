"""The lists of a night, all together, against histories, items and the version served now -> checks for gate 3.

Everything is counted by DuckDB over all users; nothing is sampled, no Python per user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import duckdb

from models import registry
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, POPULAR, RECOMMENDATIONS, SIMILAR_ITEMS, USERS, Table
from nightloom.lake import arrow_schema
from nightloom.lake.described_items import describe_items
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.recommendations import files_of_night, nightly_lists
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.slate.rule_checks import check_rules
from serving.slate_scope import create_scope
from serving.slate_served import popular_only_check, served_checks


@contextmanager
def lists_database(night: Night) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the night's lists and the tables they are checked against: `histories`, `items`, `popular`, ..."""
    with spilling_duckdb(night.settings.place("scratch")) as db:
        _load_tables(night, db)
        yield db


def slate_checks(night: Night, db: duckdb.DuckDBPyConnection) -> list[Check]:
    """The checks of this gate, without the expectations of the tables."""
    slate = night.settings.slate
    # A rule may end a list: it is full then when its first page is.
    length = slate.k if slate.rules else slate.stored
    found = _count_lists(db) | _count_users(db, length) | _count_items(db, slate.k) | _count_active_users(night, db)
    night.counts |= {"lists": found["rows"], "unjudged_lists": found["unjudged"], "empty_lists": found["empty"]}
    night.counts["known_users"] = found["known"]
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
    """Views of the inputs at their pinned versions: DuckDB reads of their files what a check asks for.

    Most checks read `listed`, a row per listed item, and `pages`, the first page of each list: these are tables.
    """
    of_night, k = f"night = DATE '{night.date}'", night.settings.slate.k
    of_lists = files_of_night(night.lake, RECOMMENDATIONS, night.date, night.pin(RECOMMENDATIONS))
    _view(db, "stored_lists", RECOMMENDATIONS, of_lists)
    lists = nightly_lists(night.lake, night.date, night.pin(RECOMMENDATIONS), source="stored_lists")
    db.execute(f"CREATE TEMP VIEW lists AS SELECT {LIST} FROM ({lists})")
    _view(db, "weeks", HISTORIES, night.lake.files(HISTORIES, night.pin(HISTORIES)))
    _view(db, "items", ITEMS, night.lake.files(ITEMS, night.pin(ITEMS)))
    for name, table, columns, where in (
        ("popular", POPULAR, "items", f"{of_night} AND segment = 'all'"),
        ("similar_lists", SIMILAR_ITEMS, "item_id, items", of_night),
        ("people", USERS, "user_id, attributes", "true"),
    ):
        used = night.lake.exists(table) and (table != USERS or night.settings.slate.user_attributes)
        _view(db, f"stored_{name}", table, night.lake.files(table, night.pin(table)) if used else [])
        db.execute(f"CREATE TEMP VIEW {name} AS SELECT {columns} FROM stored_{name} WHERE {where}")
    db.execute(f"CREATE TEMP VIEW touched AS {_touched_sql(night)}")
    db.execute(
        """CREATE TEMP VIEW histories AS
        SELECT user_id, flatten(list(items)) AS items, max(last_at) AS last_at FROM touched GROUP BY user_id"""
    )
    # An item that no source described may be listed; an item that is not available may not.
    db.execute(
        f"""CREATE TEMP TABLE listed AS
        SELECT item, count(*) AS times, count(*) FILTER (rank < {k}) AS firsts
        FROM (SELECT unnest(items) AS item, unnest(range(len(items))) AS rank FROM lists) GROUP BY item"""
    )
    db.execute(
        f"""CREATE TEMP TABLE pages AS SELECT user_id, model_version, len(items) AS length, items[1:{k}] AS first,
        list_avg(scores[1:{k}]) AS score FROM lists"""
    )
    create_scope(night, db)


LIST = "user_id, items, scores, model_version"


def _touched_sql(night: Night) -> str:
    """What each user touched in each week before the night's end: week, user_id, items, last_at."""
    end, week = f"TIMESTAMPTZ '{night.end.isoformat()}'", HISTORIES.period_of(night.date)
    before = f'list_filter("at", lambda moment: moment < {end})'
    return f"""SELECT week, user_id, items, "at"[-1] AS last_at FROM weeks WHERE week < DATE '{week}'
        UNION ALL SELECT week, user_id, items[1:len({before})], list_max({before}) FROM weeks
        WHERE week = DATE '{week}' AND "at"[1] < {end}"""


def _view(db: duckdb.DuckDBPyConnection, name: str, table: Table, files: list[str]) -> None:
    """A view of a table's files; of a table that has none, an empty one."""
    if files:
        read_parquet(db, files, union_by_name=True, hive_partitioning=table.partition is not None).create_view(name)
    else:
        db.register(name, arrow_schema(table).empty_table())


def _count_lists(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """How many lists there are, and what is wrong with the content of those that no gate has judged."""
    return _one(
        db,
        """WITH finite AS (SELECT *, [s FOR s IN scores IF isfinite(s)] AS good FROM unjudged_lists),
        every AS (SELECT count(*) AS rows, count(DISTINCT user_id) AS users,
            count(*) FILTER (length = 0) AS empty FROM pages)
        SELECT any_value(rows) AS rows, any_value(users) AS users, any_value(empty) AS empty, count(items) AS unjudged,
        count(*) FILTER (len(items) <> len(list_distinct(items))) AS duplicates,
        count(*) FILTER (len(items) <> len(scores)) AS unequal,
        count(*) FILTER (len(good) <> len(scores)) AS infinite,
        count(*) FILTER (good <> list_reverse_sort(good)) AS rising FROM every LEFT JOIN finite ON true""",
    )


def _count_users(db: duckdb.DuckDBPyConnection, stored: int) -> dict[str, Any]:
    """Coverage, seen items, and lists shorter than they could be: min(stored, unseen items that some list holds).

    `starved` are empty lists of users who have not seen all of these items.
    The model may not know yet an item that no list holds: no list is short for lack of it. Seen items are found by
    hashes first, which takes half the time of a look into each list.
    """
    # As tables: in one query DuckDB would take several times as long.
    db.execute(
        """CREATE TEMP TABLE suspects AS SELECT DISTINCT user_id FROM (SELECT user_id, hash(user_id, item) AS h FROM
            (SELECT user_id, unnest(items) AS item FROM lists SEMI JOIN scope USING (user_id)))
        SEMI JOIN (SELECT hash(user_id, item) AS h FROM
            (SELECT user_id, unnest(items) AS item FROM touched SEMI JOIN scope USING (user_id)))
        USING (h)"""
    )
    db.execute(
        """CREATE TEMP TABLE known AS
        SELECT user_id, length FROM (SELECT DISTINCT user_id FROM touched) LEFT JOIN pages USING (user_id)"""
    )
    seen = """SELECT count(DISTINCT user_id) AS seen
        FROM touched SEMI JOIN suspects USING (user_id) JOIN lists USING (user_id)
        WHERE list_has_any(lists.items, touched.items)"""
    return _one(db, seen) | _one(
        db,
        f"""WITH room AS (SELECT user_id, count(DISTINCT item) AS used FROM
            (SELECT user_id, unnest(items) AS item FROM touched
             SEMI JOIN (SELECT user_id FROM known WHERE length < {stored}) USING (user_id))
            WHERE item IN (SELECT item FROM listed) GROUP BY user_id)
        SELECT count(*) AS known, count(length) AS covered,
        count(*) FILTER (length < least({stored}, (SELECT count(*) FROM listed) - coalesce(used, 0))) AS short,
        count(*) FILTER (length = 0 AND (SELECT count(*) FROM listed) > coalesce(used, 0)) AS starved
        FROM known LEFT JOIN room USING (user_id)""",
    )


def _count_items(db: duckdb.DuckDBPyConnection, k: int) -> dict[str, Any]:
    """Entries that must not be listed; how much of the catalogue (described or listed, available) first pages show.

    The first page of a user with an empty list is that of the popular list.
    """
    return _one(
        db,
        f"""WITH stand_in AS (SELECT unnest(items[1:{k}]) AS item FROM popular
            WHERE EXISTS (SELECT 1 FROM pages WHERE length = 0)),
        entries AS (FROM listed UNION ALL SELECT item, 0, 1 FROM stand_in),
        shown AS (SELECT item, sum(times) AS times, sum(firsts) AS firsts FROM entries GROUP BY item),
        known AS (SELECT times, firsts, coalesce(available, true) AS available
            FROM shown FULL JOIN items ON item = item_id)
        SELECT coalesce(sum(times) FILTER (NOT available), 0) AS unavailable,
        count(*) FILTER (firsts > 0 AND available) AS shown, count(*) FILTER (available) AS available FROM known""",
    )


def _count_active_users(night: Night, db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Recently active users: those with a list, and those whose list is that of an unknown user."""
    k, since = night.settings.slate.k, night.end - timedelta(days=night.settings.gates.slate.active_days)
    return _one(
        db,
        f"""WITH everybody AS (SELECT any_value(items) AS items FROM popular),
        active AS (SELECT user_id, first FROM (SELECT DISTINCT user_id FROM touched
            WHERE week >= DATE '{HISTORIES.period_of(since.date())}'
            AND last_at >= TIMESTAMPTZ '{since.isoformat()}') LEFT JOIN pages USING (user_id)),
        alike AS (SELECT user_id, first, everybody.items FROM active, everybody
            WHERE len(first) > 0 AND list_has_all(everybody.items, first)),
        seen AS (SELECT user_id, flatten(list(items)) AS seen FROM touched
            SEMI JOIN alike USING (user_id) GROUP BY user_id),
        strangers AS (SELECT user_id FROM alike JOIN seen USING (user_id) WHERE list_sort(first)
            = list_sort(list_filter(alike.items, lambda item: NOT list_contains(seen, item))[1:{k}]))
        SELECT count(*) AS active, count(first) AS active_covered,
        count(*) FILTER (coalesce(len(first), 0) = 0) + (SELECT count(*) FROM strangers) AS fallback
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
