"""[slate] of nightloom.toml and a night's items -> the compiled rules (nightloom.slate.plan).

The caller gives a DuckDB connection with the table `described`, a row per item: item_id, title, categories, available,
updated_at; events, events_1d, events_7d, events_28d, popularity (0 without any), first_at, last_at; night (the date);
and every declared attribute by its name. nightloom.lake.described_items makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import duckdb

from nightloom.errors import SettingsError
from nightloom.slate.described import Compilation, DescribedItems
from nightloom.slate.effects import Likeness
from nightloom.slate.plan import Plan
from nightloom.slate.rule import CompiledRule
from nightloom.slate.settings import Slate


def compile_rules(db: duckdb.DuckDBPyConnection, slate: Slate, night: date, place_of: Callable[..., str]) -> Plan:
    """Compile the rules. Raises SettingsError, with the line that `place_of` names, where one cannot be compiled."""
    items, rules, likeness = DescribedItems(db), list[CompiledRule](), 0
    for location, rule in slate.located_rules:
        compiled = rule.compile(Compilation(items, night, slate.k, location, place_of))
        likeness += sum(isinstance(effect, Likeness) for effect in compiled.effects)
        if likeness > 1:
            raise SettingsError(f"{place_of(*location)}: a rule above compares items on a page already; one may")
        rules.append(compiled)
    pool = slate.candidates * slate.stored
    return Plan(tuple(rules), items.ids, items.available, slate.k, slate.stored, pool, str(night))
