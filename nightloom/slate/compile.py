"""[slate] of nightloom.toml, silver.items and gold.item_stats of a night -> the compiled rules (slate.Plan).

Conditions are DuckDB's SQL over one row an item: item_id, title, categories, available, updated_at; events, events_1d,
events_7d, events_28d, popularity (0 without any), first_at, last_at; night (the date); and every declared attribute by
its name, with the type of its field where it is one as it comes, else text. What cannot be read is not met.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nightloom.contracts import ITEM_STATS, ITEMS
from nightloom.errors import SettingsError
from nightloom.lake import Lake
from nightloom.lake.duck import spilling_duckdb
from nightloom.literals import sql_text
from nightloom.section import nearest_key
from nightloom.settings import Settings, place_of
from nightloom.slate.plan import Bools, Boost, Caps, Diverse, ForAll, ForUser, Lists, Pinned, Plan, Reserved
from nightloom.slate.settings import CATEGORY, Filter
from nightloom.slate.settings import Boost as Boosting

NUMBERS = ("events", "events_1d", "events_7d", "events_28d", "popularity")
OF_ITEM = ("item_id", "title", "categories", "available", "updated_at")
CATEGORY_NAMED = re.compile(r"'([^']*)'\s+in\s+categories|list_contains\(\s*categories\s*,\s*'([^']*)'", re.IGNORECASE)


@contextmanager
def described(
    lake: Lake, settings: Settings, night: date, items: int, stats: int | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the table `described`, which conditions read, by item id, from these versions of the two tables."""
    with spilling_duckdb(settings.place("home")) as db:
        describe(db, lake, settings, night, items, stats)
        yield db


def describe(
    db: duckdb.DuckDBPyConnection, lake: Lake, settings: Settings, night: date, items: int, stats: int | None
) -> None:
    """Make the table `described` in a connection of somebody's own."""
    db.register("_items", lake.stream(ITEMS, "true", (*OF_ITEM, "attributes"), items))
    columns = ("item_id", *NUMBERS, "first_at", "last_at")
    if stats is None:
        empty = [
            f"CAST(NULL AS {'TIMESTAMPTZ' if name.endswith('at') else 'DOUBLE'}) AS {name}" for name in columns[1:]
        ]
        db.execute(f"CREATE TEMP VIEW _stats AS SELECT '' AS item_id, {', '.join(empty)}")
    else:
        db.register("_stats", lake.stream(ITEM_STATS, f"night = DATE '{night}'", columns, stats))
    own = {*OF_ITEM, *columns, "night"}
    attributes = [f""", TRY_CAST(attributes[{sql_text(name)}] AS {type if '<' not in type else 'string'})
        AS "{name}" """ for name, type in settings.attributes("items").items() if name not in own]  # fmt: skip
    db.execute(
        f"""CREATE TEMP TABLE described AS SELECT {", ".join(OF_ITEM)}, DATE '{night}' AS night, first_at, last_at,
        {", ".join(f"coalesce({name}, 0) AS {name}" for name in NUMBERS)}{"".join(attributes)}
        FROM _items LEFT JOIN _stats USING (item_id) ORDER BY item_id"""
    )


def condition(when: str) -> str:
    """SQL for whether an item meets a rule's condition; what cannot be computed for an item, it does not meet."""
    return f"coalesce(TRY(({when}\n)), false)"


def plan(lake: Lake, settings: Settings, night: date, items: int, stats: int | None) -> Plan:
    """Compile the rules. Raises SettingsError, with the line, where one cannot be."""
    with described(lake, settings, night, items, stats) as db:
        return Compiler(db, settings, night).plan()


class Compiler:
    """The rules of one night over the table `described`."""

    def __init__(self, db: duckdb.DuckDBPyConnection, settings: Settings, night: date) -> None:
        self.db, self.settings, self.slate, self.night = db, settings, settings.slate, night
        self.names = [name for name, _ in self.slate.rules]
        self.ids = self._column("item_id").combine_chunks()
        self.available = self._bools("available")
        self.speaks_of: dict[str, int] = {}

    def plan(self) -> Plan:
        slate = self.slate
        filters = tuple(self._filter(number, each) for number, each in enumerate(slate.filters))
        boosts = tuple(self._boost(number, each) for number, each in enumerate(slate.boosts))
        caps = self._caps() if slate.caps else None
        reserved, pins, diverse = tuple(self._reserved()), tuple(self._pins()), self._diverse()
        # Undescribed items are the last entry: available, of no attribute, so that they meet no condition.
        return Plan(
            tuple(self.names), tuple(self.speaks_of.get(name, len(self.ids)) for name in self.names), self.ids,
            np.append(self.available, True), slate.k, slate.stored, slate.candidates * slate.stored, str(self.night),
            filters, boosts, caps, reserved, pins, diverse,
        )  # fmt: skip

    def _filter(self, number: int, rule: Filter) -> ForAll | ForUser:
        index = self.names.index(rule.name)
        if rule.when is not None:
            return ForAll(index, np.append(self._met(rule.name, rule.when, "filters", number), False))
        assert rule.item is not None  # the settings see to it, and to the next
        assert rule.user is not None
        if rule.compare == "contains":
            known, codes = self._values(
                f"""[trim(each) FOR each IN string_split(CAST("{rule.item}" AS VARCHAR), ',')]"""
            )
        else:
            known, codes = self._values(f"""[TRY_CAST("{rule.item}" AS DOUBLE)]""")
        self.speaks_of[rule.name] = int((np.diff(codes.indptr) > 0).sum())
        return ForUser(index, rule.user, rule.compare, known, codes)

    def _boost(self, number: int, rule: Boosting) -> Boost:
        met = self._met(rule.name, rule.when, "boosts", number)
        add = np.where(met, rule.add, 0.0)
        if rule.since is not None:
            since, end = f'TRY_CAST("{rule.since}" AS TIMESTAMPTZ)', f"TIMESTAMPTZ '{self.night} 23:59:59+00'"
            days = self._column(f"coalesce(date_diff('second', {since}, {end}) / 86400.0, 'nan'::DOUBLE)").to_numpy()
            decayed = 0.5 ** (np.maximum(days, 0) / (rule.half_life_days or 1))
            add = np.where(np.isnan(days), 0, add * decayed)
        return Boost(self.names.index(rule.name), np.append(add, 0).astype(np.float32))

    def _caps(self) -> Caps:
        """Every value that a cap counts is a kind; kinds of several caps follow one another."""
        rows, kinds = [], []
        limits: list[tuple[int, int, bool]] = []
        for number, rule in enumerate(self.slate.caps):
            met = self._met(rule.name, rule.when, "caps", number)
            codes = self._words(rule.by) if rule.by else _one_for_all(len(self.ids))
            owner = np.repeat(np.arange(len(self.ids)), np.diff(codes.indptr)[: len(self.ids)])
            keep = met[owner]
            rows.append(owner[keep])
            kinds.append(codes.values[keep] + len(limits))
            limit = self.names.index(rule.name), rule.at_most, rule.within == "list"
            limits += [limit] * (int(codes.values.max(initial=-1)) + 1)
        columns = zip(*limits, strict=True) if limits else ((), (), ())
        rule_C, at_most_C, whole_C = (np.array(list(column)) for column in columns)
        return Caps(_lists(np.concatenate(rows), np.concatenate(kinds), len(self.ids)), rule_C.astype(np.int32),
                    at_most_C.astype(np.int32), whole_C.astype(np.bool_))  # fmt: skip

    def _reserved(self) -> Iterator[Reserved]:
        for number, floor in enumerate(self.slate.floors):
            member = self._member(self._met(floor.name, floor.when, "floors", number))
            yield Reserved(self.names.index(floor.name), member, floor.at_least, False, False, {})
        for number, rule in enumerate(self.slate.promotions):
            member = self._member(self._met(rule.name, rule.when, "promotions", number))
            places = self.slate.places(rule.share) if rule.on(self.night) else 0
            yield Reserved(self.names.index(rule.name), member, places, True, False, rule.users)
        if (exploring := self.slate.exploration) is not None:
            cold = self._bools(f"events <= {exploring.most_events}")
            self.speaks_of["exploration"] = int(cold.sum())
            places = self.slate.places(exploring.share)
            yield Reserved(self.names.index("exploration"), self._member(cold), places, True, True, {})

    def _pins(self) -> Iterator[Pinned]:
        places = {item: number for number, item in enumerate(self.ids.to_pylist())} if self.slate.pins else {}
        for number, pin in enumerate(self.slate.pins):
            item = places.get(pin.item, -1)
            self.speaks_of[pin.name] = int(item >= 0)
            if item < 0:
                self._warn("pins", number, "item", f"pins the item '{pin.item}', which silver.items does not have")
            shown = item >= 0 and self.available[item] and pin.on(self.night)
            yield Pinned(self.names.index(pin.name), item if shown else -1, pin.place - 1, pin.users)

    def _diverse(self) -> Diverse | None:
        if (rule := self.slate.diversity) is None:
            return None
        each = [self._words(name) for name in rule.by]
        owners = [np.repeat(np.arange(len(self.ids)), np.diff(one.indptr)[: len(self.ids)]) for one in each]
        firsts = np.cumsum([0, *(int(one.values.max(initial=-1)) + 1 for one in each)])
        values = [one.values + first for one, first in zip(each, firsts, strict=False)]
        return Diverse(
            self.names.index("diversity"), rule.relevance,
            _lists(np.concatenate(owners), np.concatenate(values), len(self.ids)),
        )  # fmt: skip

    def _member(self, met: Bools) -> Bools:
        """What may be shown of the items that meet a condition."""
        return np.append(met & self.available, False)

    def _met(self, name: str, when: str, *place: str | int) -> Bools:
        """Of each item, whether it meets the condition; a wrong one is an error that names its line."""
        where = place_of(self.settings, "slate", *place, "when")
        try:
            (kind,) = self.db.sql(f"SELECT ({when}\n) AS met FROM described LIMIT 0").types
        except duckdb.Error as error:
            raise SettingsError(f"{where}: {str(error).split(chr(10) + chr(10))[0]}; columns of an item are "
                                f"{', '.join(self.db.table('described').columns)}") from None  # fmt: skip
        if str(kind) != "BOOLEAN":
            raise SettingsError(f"{where}: '{when}' is {kind}; expected a condition, true or false for each item")
        self._look_at_categories(when, place)
        met = self._bools(condition(when))
        self.speaks_of[name] = int(met.sum())
        if not met.any() and len(met):
            self._warn(*place, "when", "no item meets it")
        return met

    def _look_at_categories(self, when: str, place: tuple[str | int, ...]) -> None:
        named = {one or other for one, other in CATEGORY_NAMED.findall(when)}
        if named:
            known = [row[0] for row in self.db.sql("SELECT DISTINCT unnest(categories) FROM described").fetchall()]
            for category in sorted(named - set(known)):
                self._warn(
                    *place, "when", f"names the category '{category}', which no item has{nearest_key(category, known)}"
                )

    def _warn(self, *place_and_words: str | int) -> None:
        *place, words = place_and_words
        print(f"warning: {place_of(self.settings, 'slate', *place)}: {words}", file=sys.stderr)

    def _words(self, by: str) -> Lists:
        return self._values("categories" if by == CATEGORY else f"""[CAST("{by}" AS VARCHAR)]""")[1]

    def _values(self, listed: str) -> tuple[pa.Array, Lists]:
        """The distinct values of a list in SQL, sorted, and each item's as places among them."""
        there = "value IS NOT NULL" if "DOUBLE" in listed else "value <> ''"
        found = self.db.sql(
            f"""WITH each AS (SELECT row_number() OVER (ORDER BY item_id) - 1 AS item, unnest({listed}) AS value
                FROM described), said AS (SELECT DISTINCT item, value FROM each WHERE {there})
            SELECT item, value, dense_rank() OVER (ORDER BY value) - 1 AS code FROM said ORDER BY item, code"""
        ).to_arrow_table()
        codes = found["code"].to_numpy()
        firsts = np.unique(codes, return_index=True)[1]
        known = found["value"].combine_chunks().take(pa.array(firsts, pa.int64()))
        return known, _lists(found["item"].to_numpy(), codes, len(self.ids))

    def _column(self, sql: str) -> pa.ChunkedArray:
        return self.db.sql(f"SELECT {sql} AS value FROM described ORDER BY item_id").to_arrow_table()["value"]

    def _bools(self, sql: str) -> Bools:
        return np.asarray(self._column(sql).to_numpy(), np.bool_)


def _one_for_all(items: int) -> Lists:
    return _lists(np.arange(items), np.zeros(items, np.int64), items)


def _lists(owners: NDArray[np.integer], values: NDArray[np.integer], items: int) -> Lists:
    """Values by their owners, rising; one more entry, for an item that nobody described, which has none."""
    order = np.lexsort((values, owners))
    indptr = np.zeros(items + 2, np.int64)
    np.cumsum(np.bincount(np.asarray(owners, np.int64), minlength=items + 1), out=indptr[1:])
    return Lists(indptr, np.asarray(values, np.int32)[order])
