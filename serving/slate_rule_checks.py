"""The slate rules, looked for in the night's lists by SQL alone: nothing here knows how they were applied.

DuckDB has `lists`, `histories`, `people` (what silver.users says) and `described` (nightloom.slate.compile.describe).
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from nightloom.literals import sql_text
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.slate.compile import condition
from nightloom.slate.settings import CATEGORY, Cap, Exploration, Filter, Floor, ForSome, Pin, Promotion

ENTRIES = "(SELECT user_id, unnest(items) AS item_id, unnest(range(len(items))) AS place FROM lists)"
SHOWN = f"(SELECT user_id, item_id FROM {ENTRIES} UNION ALL SELECT NULL, unnest(items) FROM popular)"
"""What anybody is shown, strangers too."""
LONGEST = 2**31
"""More places than any list has."""


def rule_checks(night: Night, db: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    """One check for each rule that lists can break, and one for all places that rules keep."""
    slate = night.settings.slate
    for each in slate.filters:
        yield _never(db, each.name, _against(each), "entries that it hides")
    for cap in slate.caps:
        yield _never(db, cap.name, _over(cap, slate.k), "pages or lists over the cap")
    places = [_missed(night, name, rule) for name, rule in slate.rules]
    if wanted := [sql for sql in places if sql]:
        yield _kept(night, db, wanted)


def _never(db: duckdb.DuckDBPyConnection, rule: str, sql: str, what: str) -> Check:
    (found,) = db.sql(f"SELECT count(*) FROM ({sql})").fetchall()
    return Check(f"rule_{rule}", found[0] == 0, f"{found[0]:,} {what}", "none")


def _against(rule: Filter) -> str:
    """Entries that a filter hides from their user."""
    if rule.when is not None:
        meets = f"SELECT item_id FROM described WHERE {condition(rule.when)}"
        return f"SELECT 1 FROM {SHOWN} WHERE item_id NOT IN ({meets})"
    assert rule.user is not None  # the settings see to it
    item, user = f'"{rule.item}"', f"attributes[{sql_text(rule.user)}]"
    if rule.compare == "contains":
        has = f"[trim(each) FOR each IN string_split(CAST({item} AS VARCHAR), ',') IF trim(each) <> '']"
        given, fits = f"len({has}) > 0", f"list_contains({has}, {user})"
    else:
        sign = {"at_most": "<=", "at_least": ">="}[rule.compare]
        given, fits = (
            f"TRY_CAST({item} AS DOUBLE) IS NOT NULL",
            f"TRY_CAST({item} AS DOUBLE) {sign} TRY_CAST({user} AS DOUBLE)",
        )
    return f"""SELECT 1 FROM {SHOWN} JOIN described USING (item_id) LEFT JOIN people USING (user_id)
        WHERE {given} AND NOT coalesce({fits}, false)"""


def _over(cap: Cap, k: int) -> str:
    """Pages, or lists, with more of a value than a cap allows."""
    values = "categories" if cap.by == CATEGORY else f'[CAST("{cap.by}" AS VARCHAR)]' if cap.by else "['all']"
    page = f"place // {k if cap.within == 'page' else LONGEST}"
    return f"""SELECT 1 FROM {ENTRIES} JOIN
        (SELECT item_id, unnest(list_distinct({values})) AS value FROM described WHERE {condition(cap.when)})
        USING (item_id) WHERE value <> '' GROUP BY user_id, {page}, value HAVING count(*) > {cap.at_most}"""


def _missed(night: Night, name: str, rule: object) -> str | None:
    """One row: the rule, first pages it holds for, and those that it has fewer places on than it asks for."""
    slate = night.settings.slate
    some = rule.users if isinstance(rule, ForSome) else {}
    if isinstance(rule, ForSome) and not rule.on(night.date):
        return None
    whose = " AND ".join(["true", *(f"attributes[{sql_text(key)}] = {sql_text(value)}" for key, value in some.items())])
    of_page, missed = "(SELECT NULL AS user_id, 0 AS has)", ""
    if isinstance(rule, Pin):
        item = sql_text(rule.item)
        missed = f"items[{rule.place}] <> {item} AND NOT list_contains(seen, {item})"
    elif isinstance(rule, Floor | Promotion | Exploration):
        when = f"events <= {rule.most_events}" if isinstance(rule, Exploration) else rule.when
        asked = rule.at_least if isinstance(rule, Floor) else slate.places(rule.share)
        of_page = f"""(SELECT user_id, count(*) AS has FROM {ENTRIES} WHERE place < {slate.k} AND item_id IN
            (SELECT item_id FROM described WHERE {condition(when)}) GROUP BY user_id)"""
        missed = f"coalesce(has, 0) < {asked}"
    else:
        return None
    length = rule.place if isinstance(rule, Pin) else slate.k
    return f"""SELECT {sql_text(name)} AS rule, count(*) AS pages, count(*) FILTER ({missed}) AS missed
        FROM lists LEFT JOIN (SELECT user_id, items AS seen FROM histories) USING (user_id)
        LEFT JOIN people USING (user_id) LEFT JOIN {of_page} USING (user_id) WHERE len(items) >= {length} AND {whose}"""


def _kept(night: Night, db: duckdb.DuckDBPyConnection, wanted: list[str]) -> Check:
    """Pages without all the places that rules keep: nothing may have been left to put there."""
    gate = night.settings.gates.slate
    rows = [db.sql(sql).fetchall()[0] for sql in wanted]
    pages, missed = (sum(row[n] for row in rows) for n in (1, 2))
    share = missed / pages if pages else 0.0
    said = ", ".join(f"{name} {left:,} of {all_:,}" for name, all_, left in rows)
    severity = "stop" if "places" in gate.stop_on else "warn"
    return Check("places", share <= gate.max_missed_places, f"{share:.4f} of first pages lack a place ({said})",
                 f"at most {gate.max_missed_places}", severity)  # fmt: skip
