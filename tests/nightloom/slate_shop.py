"""A catalogue made by hand and users whose scores are known: what the right list is, one can see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from nightloom import settings as settings_module
from nightloom.contracts import ITEM_STATS, ITEMS
from nightloom.lake import Lake
from nightloom.lake.described_items import compile_slate
from nightloom.settings import Settings
from nightloom.slate.apply import apply_rules
from nightloom.slate.arrays import F32, I32, I64, Bools
from nightloom.slate.candidates import UserBlock
from nightloom.slate.plan import Plan
from nightloom.slate.slates import Slates
from nightloom.topk import topk_of_scores

NIGHT = date(2024, 3, 1)
TOML = """
[project]
name = "shop"

[[sources]]
name = "clicks"
kind = "events"
path = "landing"
format = "json"
fields = { u = "string", i = "string", t = "timestamp" }
columns = { user_id = "u", item_id = "i", event = "'click'", occurred_at = "t" }

[[sources]]
name = "goods"
kind = "items"
path = "landing"
format = "json"
columns = { item_id = "i" }

[sources.fields]
i = "string"
year = "int"
price = "double"
maker = "string"
provider = "string"
series = "string"
markets = "string"
min_age = "string"
r = "string"

[sources.attributes]
year = "year"
maker = "upper(maker)"
provider = "provider"
series = "series"
markets = "markets"
min_age = "min_age"
released = "r"

[[sources]]
name = "people"
kind = "users"
path = "landing"
format = "json"
fields = { u = "string", market = "string", age = "string" }
columns = { user_id = "u" }
attributes = { market = "market", age = "age" }

[[signals]]
event = "click"

[[models]]
name = "popularity"

[slate]
"""


@dataclass
class Shop:
    """Items a, b, c, ... of scores 100, 99, 98, ...; the description of each, and the rules."""

    root: Path
    rules: str = ""
    items: int = 12
    k: int = 4
    stored: int = 8
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Item -> available, categories, events and attributes."""
    unknown: Sequence[str] = ()
    """Items that are described and that the model does not know."""

    @property
    def known(self) -> list[str]:
        return [chr(ord("a") + n) for n in range(self.items)]

    @property
    def settings(self) -> Settings:
        self.root.mkdir(exist_ok=True)
        text = f"{TOML}k = {self.k}\nstored = {self.stored}\n{self.rules}"
        (self.root / "nightloom.toml").write_text(text, encoding="utf8")
        return settings_module.load(self.root / "nightloom.toml")

    def plan(self) -> Plan:
        settings = self.settings
        lake = Lake(settings.place("lake"))
        if not lake.exists(ITEMS):
            lake.append(ITEMS, [self._row(item) for item in [*self.known, *self.unknown]])
            stats = [self._stats(item, row["events"]) for item, row in self.described.items() if "events" in row]
            lake.append(ITEM_STATS, stats or [self._stats("nobody's", 1)])
        return compile_slate(lake, settings, NIGHT, lake.version(ITEMS), lake.version(ITEM_STATS))

    def _row(self, item: str) -> dict[str, Any]:
        described = dict(self.described.get(item, {}))
        fixed = {name: described.pop(name, default) for name, default in (("categories", []), ("available", True))}
        described.pop("events", None)
        at = datetime(2024, 1, 1, tzinfo=UTC)
        named = {"item_id": item, "title": f"Item {item}", "updated_at": at, "row_id": item, "night": NIGHT}
        return named | fixed | {"attributes": [(name, str(value)) for name, value in described.items()]}

    def _stats(self, item: str, events: int) -> dict[str, Any]:
        at = datetime(2024, 2, 1, tzinfo=UTC)
        counts = {"events_1d": 0, "events_7d": 0, "events_28d": 0, "events": events, "popularity": 1.0}
        return {"night": NIGHT, "item_id": item, "first_at": at, "last_at": at + timedelta(days=1)} | counts

    def slates(
        self,
        users: Mapping[str, Mapping[str, str]] | None = None,
        seen: Mapping[str, Sequence[str]] | None = None,
        scores: F32 | None = None,
        plan: Plan | None = None,
    ) -> Slates:
        """`users`: id -> attributes; `scores`: B x items, else as in the docstring above; `plan`: else plan()."""
        users, seen = users or {"u": {}}, seen or {}
        plan = (plan or self.plan()).for_items(self.known)
        scores_BI = (
            np.tile(100 - np.arange(self.items, dtype=np.float32), (len(users), 1)) if scores is None else scores
        )
        place = {item: n for n, item in enumerate(plan.ids.to_pylist())}
        pairs = [(row, place[item]) for row, user in enumerate(users) for item in seen.get(user, ()) if item in place]
        rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
        seen_BA = csr_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=(len(users), len(place)))

        def best(k: int, rows: I64, allowed: Bools) -> tuple[I32, F32]:
            return topk_of_scores(scores_BI[rows], k, seen=seen_BA[rows, : self.items].tocsr(), allowed_I=allowed)

        words = [[f"{name}={value}" for name, value in attributes.items()] for attributes in users.values()]
        block = UserBlock(pa.array(list(users), pa.string()), pa.array(words, pa.list_(pa.string())), seen_BA)
        self.ids = plan.ids.to_pylist()
        return apply_rules(plan, self.items, best, block)

    def lists(self, **asked: Any) -> list[str]:
        """Each user's list as one text, e.g. "abcd"."""
        return self.texts(self.slates(**asked))

    def texts(self, made: Slates, step: int = -1) -> list[str]:
        return ["".join(self.ids[item] for item in row if item >= 0) for row in made.items(step)]
