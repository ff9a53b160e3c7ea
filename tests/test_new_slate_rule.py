"""A new kind of slate rule is one file: it works through a real night of a copied checkout, and nothing else changes.

The night runs there as its commands: lists by the rule, gate 3 by the rule's SQL, publish, and an explanation.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from nightloom.contracts import GATES, ITEMS, RECOMMENDATIONS, SLATE_RULES
from tests.authoring_page import examples
from tests.first_night import SMALL, days_arrive
from tests.scratch_checkout import ScratchCheckout

NIGHT = date(2024, 1, 16)
(KIND,) = examples("A kind of slate rule: one file", "python")
(RULE,) = examples("A kind of slate rule: one file", "toml")
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
