"""slate/apply.py: whatever the rules, a list holds nothing twice, nothing seen, hidden, filtered, or over a cap."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nightloom.slate.arrays import F32
from tests.nightloom.slate_shop import Shop

RULES = {
    "filter": '[[slate.filters]]\nname = "f"\nwhen = "year > 2000"\n',
    "market": '[[slate.filters]]\nname = "m"\nitem = "markets"\nuser = "market"\n',
    "boost": '[[slate.boosts]]\nname = "b"\nwhen = "maker = \'A\'"\nadd = 0.4\n',
    "cap": '[[slate.caps]]\nname = "c"\nby = "maker"\nat_most = 2\n',
    "series": '[[slate.caps]]\nname = "s"\nby = "series"\nat_most = 1\nwithin = "list"\n',
    "floor": '[[slate.floors]]\nname = "l"\nwhen = "maker = \'B\'"\nat_least = 1\n',
    "promotion": '[[slate.promotions]]\nname = "p"\nwhen = "maker = \'C\'"\nshare = 0.25\nusers = { market = "DE" }\n',
    "pin": '[[slate.pins]]\nname = "n"\nitem = "z"\nplace = 3\n[[slate.pins]]\nname = "o"\nitem = "b"\nplace = 6\n',
    "exploration": "[slate.exploration]\nshare = 0.25\nmost_events = 1\n",
    "diversity": '[slate.diversity]\nrelevance = 0.6\nby = ["category", "maker"]\n',
}
UNKNOWN = "wxyz"
VALUES = {
    "year": (1990, 2010), "maker": "ABC", "series": "ST", "markets": ("DE", "AT", "DE,AT"), "events": (1, 9),
}  # fmt: skip
USERS: dict[str, dict[str, str]] = {"de": {"market": "DE"}, "at": {"market": "AT"}, "nobody": {}}


def described(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {"available": draw(st.sampled_from([True, True, True, False]))}
    row["categories"] = draw(st.lists(st.sampled_from("XYZ"), unique=True, max_size=2))
    for name, values in VALUES.items():
        if draw(st.booleans()):
            row[name] = draw(st.sampled_from(values))
    return row


@st.composite
def shops(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, str], F32]:
    items = draw(st.integers(1, 14))
    every = [*(chr(ord("a") + n) for n in range(items)), *UNKNOWN]
    chosen = [rule for name, rule in RULES.items() if draw(st.booleans()) or name == "cap"]
    shop = {"items": items, "k": 4, "unknown": UNKNOWN, "described": {each: described(draw) for each in every}}
    shop |= {"stored": draw(st.integers(6, 10)), "rules": f"candidates = {draw(st.integers(1, 3))}\n" + "".join(chosen)}
    touched = st.lists(st.sampled_from(every), unique=True, max_size=6).map("".join)
    seen = {user: draw(touched) for user in USERS}
    scores = draw(st.lists(st.integers(-3, 3), min_size=3 * items, max_size=3 * items))
    return shop, seen, np.array(scores, np.float32).reshape(3, items)


@settings(max_examples=25, deadline=None)
@given(shops())
def test_no_rule_lets_in_what_may_not_be_listed(drawn: tuple[dict[str, Any], dict[str, str], F32]) -> None:
    arguments, seen, scores = drawn
    with TemporaryDirectory() as folder:
        shop = Shop(Path(folder) / "shop", **arguments)
        made = shop.slates(users=USERS, seen=seen, scores=scores)
        lists, rules = shop.texts(made), arguments["rules"]
    what = arguments["described"]
    for (user, has), text in zip(USERS.items(), lists, strict=True):
        rows = [what[item] for item in text]
        assert len(set(text)) == len(text) <= arguments["stored"]
        assert not set(text) & set(seen[user])
        assert all(row["available"] for row in rows)
        assert RULES["filter"] not in rules or all(row.get("year", 0) > 2000 for row in rows)
        sold = [row["markets"].split(",") for row in rows if "markets" in row]
        assert RULES["market"] not in rules or all(has.get("market") in markets for markets in sold)
        for page in (rows[start : start + 4] for start in range(0, len(rows), 4)):
            makers = [row["maker"] for row in page if "maker" in row]
            assert all(makers.count(maker) <= 2 for maker in "ABC")
        series = [row["series"] for row in rows if "series" in row]
        assert RULES["series"] not in rules or len(set(series)) == len(series)
    assert np.isfinite(made.scores()).all()
