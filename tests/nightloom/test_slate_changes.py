"""slate/changes.py: whoever is not touched has the list that a full night gives, whatever the rules and the changes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from nightloom.contracts import ITEMS
from nightloom.lake import Lake, arrow
from nightloom.lake.described_items import describe_items
from nightloom.settings import Settings
from nightloom.slate.changes import EverybodyError, compare_plans, touched_users
from nightloom.slate.compile import compile_rules
from nightloom.slate.plan import Plan
from nightloom.slate.settings import KINDS
from tests.nightloom.slate_shop import NIGHT, Shop

RULES = {
    "filter": '[[slate.filters]]\nname = "f"\nwhen = "coalesce(year, 2001) > 2000"\n',
    "market": '[[slate.filters]]\nname = "m"\nitem = "markets"\nuser = "market"\n',
    "adult": '[[slate.filters]]\nname = "g"\nitem = "min_age"\nuser = "age"\ncompare = "at_most"\n',
    "boost": '[[slate.boosts]]\nname = "b"\nwhen = "maker = \'A\'"\nadd = 0.4\n',
    "new": '[[slate.boosts]]\nname = "w"\nwhen = "maker = \'B\'"\nadd = 1.5\n',
    "cap": '[[slate.caps]]\nname = "c"\nby = "maker"\nat_most = 2\n',
    "series": '[[slate.caps]]\nname = "s"\nby = "series"\nat_most = 1\nwithin = "list"\n',
    "floor": '[[slate.floors]]\nname = "l"\nwhen = "maker = \'B\'"\nat_least = 1\n',
    "promotion": '[[slate.promotions]]\nname = "p"\nwhen = "maker = \'C\'"\nshare = 0.25\nusers = { market = "DE" }\n',
    "campaign": '[[slate.promotions]]\nname = "q"\nwhen = "series = \'T\'"\nshare = 0.25\nusers = { market = "AT" }\n'
    'first_day = "2024-03-02"\nlast_day = "2024-03-03"\n',
    "pin": '[[slate.pins]]\nname = "n"\nitem = "x"\nplace = 3\nusers = { market = "AT" }\n',
    "week": '[[slate.pins]]\nname = "o"\nitem = "b"\nplace = 6\nusers = { market = "DE" }\nlast_day = "2024-03-02"\n',
    "exploration": "[slate.exploration]\nshare = 0.25\nmost_events = 1\n",
    "diversity": '[slate.diversity]\nrelevance = 0.8\nby = ["category", "maker"]\n',
}
SELDOM = {"exploration": 0.05, "new": 0.1, "week": 0.2, "campaign": 0.2}
"""These touch everybody, or often do."""
USERS = {f"u{n}": {"market": ("DE", "AT", "CH")[n % 3], "age": str(9 + n)} for n in range(11)} | {"nobody": {}}


class Catalogue:
    """silver.items and gold.item_stats in memory, for describe_items()."""

    def __init__(self, described: dict[str, dict[str, Any]]) -> None:
        self.described = described

    def stream(self, table: Any, where: str, columns: Any, version: int) -> pa.RecordBatchReader:
        at = datetime(2024, 1, 1, tzinfo=UTC)
        items, stats = [], []
        for item, row in self.described.items():
            attributes = [
                (name, str(value)) for name, value in row.items() if name not in ("available", "categories", "events")
            ]
            named = {"item_id": item, "title": item, "updated_at": at, "row_id": item, "night": NIGHT}
            items.append(named | {name: row[name] for name in ("available", "categories")} | {"attributes": attributes})
            counts = {"events_1d": 0, "events_7d": 0, "events_28d": 0, "events": row["events"], "popularity": 1.0}
            stats.append({"night": NIGHT, "item_id": item, "first_at": at, "last_at": at} | counts)
        return arrow(table, items if table == ITEMS else stats).to_reader()


def plan_of(settings: Settings, described: dict[str, dict[str, Any]], night: date) -> Plan:
    with duckdb.connect() as db:
        describe_items(db, cast(Lake, Catalogue(described)), settings, night, 0, 0)
        return compile_rules(db, settings.slate, night, lambda *place: "a line")


def row(rng: random.Random) -> dict[str, Any]:
    values = {
        "year": (1990, 2010, 2020), "maker": "ABC", "series": "STUV", "markets": ("DE", "AT", "DE,AT"),
        "min_age": (6, 18),
    }  # fmt: skip
    described = {name: rng.choice(choice) for name, choice in values.items() if rng.random() < 0.6}
    categories = sorted(rng.sample("XYZ", rng.randint(0, 2)))
    return described | {"available": rng.random() < 0.85, "categories": categories, "events": rng.choice((1, 9))}


def nights(rng: random.Random, known: list[str]) -> Iterator[dict[str, dict[str, Any]]]:
    """A catalogue, and what becomes of it: mostly of items that the model does not know."""
    described = {item: row(rng) for item in [*known, *"wxy"]}
    described.pop(rng.choice(known))  # the model knows an item that no source described
    for _ in range(5):
        yield described
        described = dict(described)
        for item in rng.sample("vwxyz", rng.randint(0, 2)):
            described[item] = row(rng)
        if rng.random() < 0.2:
            described.pop(rng.choice("wxy"), None)
        if rng.random() < 0.2 and (item := rng.choice(known)) in described:
            described[item] = described[item] | {"available": rng.random() < 0.3}


def compared(seed: int, root: Path) -> Counter[str]:
    """Five nights of random rules, items and users -> how often everybody, nobody or some were touched."""
    rng = random.Random(seed)
    only_filters = rng.random() < 0.3
    names = ("filter", "market", "adult") if only_filters else RULES
    rules = "".join(RULES[name] for name in names if rng.random() < SELDOM.get(name, 0.5))
    if not rules:
        return Counter()
    items = rng.randint(8, 20)
    shop = Shop(root, f"candidates = {rng.randint(1, 3)}\n{rules}", items=items, k=4, stored=rng.randint(6, 10))
    seen = {user: rng.sample([*shop.known, *"vw"], rng.randint(0, 5)) for user in USERS}
    scores = np.array([[rng.randint(-6, 6) for _ in range(items)] for _ in USERS], np.float32)
    settings, found = shop.settings, Counter[str]()
    earlier: tuple[Plan, dict[str, str]] | None = None
    for number, described in enumerate(nights(rng, shop.known)):
        plan = plan_of(settings, described, NIGHT + timedelta(days=number))
        texts = dict(zip(USERS, shop.lists(users=USERS, seen=seen, scores=scores, plan=plan), strict=True))
        if earlier:
            differ = {user for user in USERS if texts[user] != earlier[1][user]}
            try:
                touched = touched_by(settings, earlier[0], plan, shop.known, earlier[1])
            except EverybodyError:
                found["everybody"] += 1
            else:
                assert differ <= touched, (seed, number, differ - touched, texts, earlier[1])
                found["nobody" if not touched else "some" if len(touched) < len(USERS) else "everybody"] += 1
                found["differ"] += len(differ)
        earlier = plan, texts
    return found


def touched_by(settings: Settings, then: Plan, now: Plan, known: list[str], lists: dict[str, str]) -> set[str]:
    changes = compare_plans(then, now, np.array(known))
    slate = settings.slate
    with duckdb.connect() as db:
        db.register("lists", pa.table({"user_id": list(lists), "items": [list(text) for text in lists.values()]}))
        entries = pa.array([list(values.items()) for values in USERS.values()], pa.map_(pa.string(), pa.string()))
        db.register("people", pa.table({"user_id": list(USERS), "attributes": entries}))
        return set(touched_users(db, changes, slate.k, slate.stored)["user_id"].to_pylist())


def test_a_list_that_no_change_touches_is_that_of_a_full_night(tmp_path: Path) -> None:
    found = sum((compared(seed, tmp_path / str(seed)) for seed in range(16)), Counter())
    assert {kind.section for kind in KINDS} == {name.split("slate.")[1].split("]")[0] for name in RULES.values()}
    assert min(found[what] for what in ("everybody", "nobody", "some", "differ")) > 3, found


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("exploration", "new", "week", "campaign")])
def test_a_new_item_does_not_touch_everybody(rule: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path, RULES[rule], items=12)
    described = {item: {"maker": "ABC"[n % 3], "available": True, "categories": ["X"], "events": 9, "year": 2010}
                 for n, item in enumerate(shop.known)}  # fmt: skip
    then = plan_of(shop.settings, described, NIGHT)
    now = plan_of(shop.settings, described | {"z": described["b"], "x": described["b"]}, NIGHT + timedelta(days=1))
    lists = dict(zip(USERS, shop.lists(users=USERS, plan=then), strict=True))
    touched = touched_by(shop.settings, then, now, shop.known, lists)
    assert touched == ({user for user in USERS if USERS[user].get("market") == "AT"} if rule == "pin" else set())
    assert compare_plans(then, then, np.array(shop.known)).sets == []
