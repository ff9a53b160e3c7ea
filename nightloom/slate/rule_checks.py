"""The slate rules of nightloom.toml, looked for in a night's lists by the SQL of each rule (checks.py) -> checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

from nightloom.slate.checks import FewMissed, NoRows
from nightloom.slate.settings import Slate

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class RuleCheck:
    """What gate 3 found about one rule, or about all reserved places."""

    name: str
    passed: bool
    observed: str
    expected: str
    severity: Literal["stop", "warn"] = "stop"


def check_rules(
    db: duckdb.DuckDBPyConnection, slate: Slate, night: date, max_missed: float, severity: Literal["stop", "warn"]
) -> Iterator[RuleCheck]:
    """One check for each rule that must not be broken; one for all reserved places, of which a share may be missed."""
    found = [(name, rule.check(slate.k, night)) for name, rule in slate.rules]
    for name, check in found:
        if isinstance(check, NoRows):
            ((rows,),) = db.sql(f"SELECT count(*) FROM ({check.sql})").fetchall()
            yield RuleCheck(f"rule_{name}", rows == 0, f"{rows:,} {check.what}", "none")
    reserved = {name: db.sql(check.sql).fetchall()[0] for name, check in found if isinstance(check, FewMissed)}
    if reserved:
        pages, missed = (sum(row[n] for row in reserved.values()) for n in (0, 1))
        share = missed / pages if pages else 0.0
        each = ", ".join(f"{name} {lacking:,} of {all_:,}" for name, (all_, lacking) in reserved.items())
        observed = f"{share:.4f} of first pages lack a place ({each})"
        yield RuleCheck("places", share <= max_missed, observed, f"at most {max_missed}", severity)
