"""A new kind of slate rule is one file: it works through a real night of a copied checkout, and nothing else changes.

The night runs there as its commands: lists by the rule, gate 3 by the rule's SQL, publish, and an explanation.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from nightloom.contracts import GATES, ITEMS, RECOMMENDATIONS, SLATE_RULES
from tests.first_night import SMALL, days_arrive
from tests.scratch_checkout import ScratchCheckout

NIGHT = date(2024, 1, 16)
KIND = '''
"""Demotions move items to the end of the list, and let at most so many of them onto a page. They apply after boosts."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from nightloom.slate.checks import ENTRIES, NoRows
from nightloom.slate.described import condition
from nightloom.slate.effects import AtMost, RelevanceAddition
from nightloom.slate.item_values import ItemValues
from nightloom.slate.rule import CompiledRule, NamedRule

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


class Demotion(NamedRule):
    """Items that come after all others, at most so many of them on a page."""

    section: ClassVar = "demotions"
    order: ClassVar = 25
    effects: ClassVar = (RelevanceAddition, AtMost)
    breakable: ClassVar = "never: the list ends sooner"
    example: ClassVar = """
[[slate.demotions]]
name = "dramas_last"
when = "'Drama' IN categories"
at_most = 2
"""

    when: str
    """Condition on the item."""
    at_most: int = Field(1, ge=1)
    """Items of a page that may meet the condition."""

    @property
    def explanation(self) -> str:
        return f"items with {self.when} come last, at most {self.at_most} on a page"

    def compile(self, compilation: Compilation) -> CompiledRule:
        import numpy as np

        met = compilation.meeting(self.when)
        owners = met.nonzero()[0]
        groups = ItemValues.from_pairs(owners, np.zeros(len(owners), np.int64), len(met))
        effects = RelevanceAddition(np.where(met, -10, 0).astype(np.float32)), AtMost(groups, self.at_most, False)
        return CompiledRule(self.name, int(met.sum()), effects)

    def check(self, k: int, night: date) -> NoRows:
        met = f"(SELECT item_id FROM described WHERE {condition(self.when)})"
        entries = f"(SELECT user_id, place, item_id IN {met} AS last FROM {ENTRIES})"
        too_many = f"""SELECT 1 FROM {entries} WHERE last GROUP BY user_id, place // {k}
            HAVING count(*) > {self.at_most}"""
        above = f"""SELECT 1 FROM {entries} upper JOIN {entries} lower USING (user_id)
            WHERE upper.place < lower.place AND upper.last AND NOT lower.last"""
        return NoRows(f"{too_many} UNION ALL {above}", "pages or items that are not last")
'''
RULE = """
[[slate.demotions]]
name = "old_ones"
when = "year < 2000"
at_most = 2
"""
TOML = (
    SMALL.replace('categories = "genres" }', 'categories = "genres" }\nattributes = { year = "year" }').replace(
        '[[models]]\nname = "als"\nparams = { factors = 8 }\n', ""
    )
    + RULE
)
"""One model, so that the night is quick."""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> ScratchCheckout:
    """After a night with the new kind, published."""
    made = ScratchCheckout.create(tmp_path_factory.mktemp("scratch"), TOML)
    made.add("nightloom/slate/rules/demotion.py", KIND)
    sample = ("--users", "60", "--items", "60", "--days", "16", "--seed", "11", "--events", "1500")
    made.nightloom("sample", "synthetic", *sample, "--to", str(made.project / "made"))
    days_arrive(made.project / "made", made.project / "landing", NIGHT)
    made.night(NIGHT)
    return made


def rows(scratch: ScratchCheckout, table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scratch.lake.rows(table).to_pylist()
    return found


def demoted(scratch: ScratchCheckout) -> set[str]:
    return {row["item_id"] for row in rows(scratch, ITEMS) if int(dict(row["attributes"])["year"]) < 2000}


def test_the_conformance_suite_runs_over_the_new_kind(scratch: ScratchCheckout) -> None:
    out = scratch.pytest("tests/nightloom/test_slate_rules.py", "-k", "demotion or files or order")
    assert "passed" in out


def test_the_lists_show_its_effect(scratch: ScratchCheckout) -> None:
    lists, old = [row["items"] for row in rows(scratch, RECOMMENDATIONS)], demoted(scratch)
    assert len(old) > 5
    assert lists
    for items in lists:
        for start in range(0, len(items), 10):
            page = [item in old for item in items[start : start + 10]]
            assert page == sorted(page)
            assert sum(page) <= 2


def test_what_it_did_is_counted_under_its_name_and_kind(scratch: ScratchCheckout) -> None:
    (row,) = rows(scratch, SLATE_RULES)
    assert (row["rule"], row["kind"], row["items"]) == ("old_ones", "demotion", len(demoted(scratch)))
    assert row["lists"] > 0


def test_gate_3_checked_it_by_its_sql(scratch: ScratchCheckout) -> None:
    (gate,) = [row for row in rows(scratch, GATES) if row["gate"] == "slate" and row["check"] == "rule_old_ones"]
    assert gate["passed"]
    assert gate["observed"] == "0 pages or items that are not last"


def test_the_explanation_of_a_line_names_it(scratch: ScratchCheckout) -> None:
    old = demoted(scratch)
    row = next(row for row in rows(scratch, RECOMMENDATIONS) if set(row["items"][:10]) - old)
    texts = [scratch.nightloom("explain", row["user_id"], "--item", item) for item in row["items"][:1]]
    assert "  old_ones (demotion): " in texts[0]
    assert "(items with year < 2000 come last, at most 2 on a page)" in texts[0]
