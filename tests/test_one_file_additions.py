"""A new model is one file, and so is a new kind of slate rule: both work through a real night of a copied checkout.

The copy has the two files of docs/authoring.md and no other change. The night trains the model, makes lists by the
rule, checks them in gate 3 by the rule's SQL, publishes, and explains.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from nightloom.contracts import GATES, RECOMMENDATIONS, SLATE_RULES
from tests.authoring_page import examples
from tests.first_night import leave
from tests.scratch_checkout import ScratchCheckout

NIGHT = date(2026, 3, 1)
ITEMS, USERS = 40, 40
OLD = {f"i{item:02}" for item in range(30, ITEMS)}

MODEL, KIND = (examples(f"A {what}: one file", "python")[0] for what in ("model", "kind of slate rule"))
MODELS, RULE = (examples(f"A {what}: one file", "toml")[0] for what in ("model", "kind of slate rule"))
TOML = f"""
[project]
name = "chain"

[[sources]]
name = "likes"
kind = "events"
path = "landing/likes"
format = "json"
fields = {{ user = "string", item = "string", at = "timestamp" }}
columns = {{ user_id = "user", item_id = "item", event = "'like'", occurred_at = "at" }}

[[sources]]
name = "catalogue"
kind = "items"
path = "landing/items"
format = "json"
fields = {{ item = "string", year = "int" }}
columns = {{ item_id = "item" }}
attributes = {{ year = "year" }}

[[signals]]
event = "like"

[training]
holdout_days = 2

[slate]
k = 10
stored = 30

{MODELS}
{RULE}
"""


def chain() -> list[str]:
    """User n likes five items in a row from item n on, one a day, the last on the night's day."""
    lines = []
    for user in range(USERS):
        for step in range(5):
            at = datetime(NIGHT.year, NIGHT.month, NIGHT.day, 12) - timedelta(days=4 - step)
            item = f"i{(user + step) % ITEMS:02}"
            lines.append(json.dumps({"user": f"u{user:02}", "item": item, "at": f"{at:%Y-%m-%dT%H:%M:%S}Z"}))
    return lines


def catalogue() -> list[str]:
    """Each item with its year: the OLD ones are from before 2000."""
    names = (f"i{item:02}" for item in range(ITEMS))
    return [json.dumps({"item": name, "year": 1990 if name in OLD else 2010}) for name in names]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> ScratchCheckout:
    """After a night with the new model and the new kind of rule, published."""
    made = ScratchCheckout.create(tmp_path_factory.mktemp("scratch"), TOML)
    made.add("models/next_item.py", MODEL)
    made.add("nightloom/slate/rules/demotion.py", KIND)
    leave(made.project / "landing" / "likes" / "likes.json.gz", chain())
    leave(made.project / "landing" / "items" / "items.json.gz", catalogue())
    made.night(NIGHT)
    return made


def rows(scratch: ScratchCheckout, table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scratch.lake.rows(table).to_pylist()
    return found


def explanation(scratch: ScratchCheckout, user: str, item: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(scratch.nightloom("explain", user, "--item", item, "--json"))
    return found


def test_the_conformance_suites_run_over_the_new_files(scratch: ScratchCheckout) -> None:
    rules, models = "tests/nightloom/test_slate_rules.py", "tests/models/test_conformance.py"
    assert "passed" in scratch.pytest(rules, models, "-k", "demotion or files or order or next_item")


def test_the_new_model_is_trained_promoted_and_serves_its_lists(scratch: ScratchCheckout) -> None:
    # User 0 has liked items 0 to 4: after 4 comes 5, and after nothing else that they liked.
    answer = json.loads(scratch.nightloom("recommend", "u00", "--json"))
    assert answer["items"][0]["item_id"] == "i05"
    why = explanation(scratch, "u00", "i05")
    assert why["model"] == "next_item version 2, the refit of version 1 on all days"
    assert why["causes"][0]["item_id"] == "i04"


def test_the_lists_show_the_effect_of_the_new_rule(scratch: ScratchCheckout) -> None:
    lists = [row["items"] for row in rows(scratch, RECOMMENDATIONS)]
    assert len(lists) == USERS
    assert any(OLD & set(items) for items in lists)
    for items in lists:
        for start in range(0, len(items), 10):
            page = [item in OLD for item in items[start : start + 10]]
            assert page == sorted(page)
            assert sum(page) <= 2


def test_what_the_rule_did_is_counted_under_its_name_and_kind(scratch: ScratchCheckout) -> None:
    (row,) = rows(scratch, SLATE_RULES)
    assert (row["rule"], row["kind"], row["items"]) == ("old_ones", "demotion", len(OLD))
    assert row["lists"] > 0


def test_gate_3_checked_the_rule_by_its_sql(scratch: ScratchCheckout) -> None:
    (gate,) = [row for row in rows(scratch, GATES) if row["gate"] == "slate" and row["check"] == "rule_old_ones"]
    assert gate["passed"]
    assert gate["observed"] == "0 pages or items that are not last"


def test_the_explanation_of_a_line_names_the_rule(scratch: ScratchCheckout) -> None:
    # User 27 has liked items 27 to 31: the next one is 32, which the rule moves to the end.
    text = scratch.nightloom("explain", "u27", "--item", "i32")
    assert "  old_ones (demotion): " in text
    assert "(items with year < 2000 come last, at most 2 on a page)" in text
