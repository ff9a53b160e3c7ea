"""A new model is one file: in a copy of the checkout that has it, a night trains it and serves its lists."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path

from tests.authoring_page import examples
from tests.first_night import leave
from tests.scratch_checkout import ScratchCheckout

NIGHT = date(2026, 3, 1)
ITEMS, USERS = 12, 40

(NEXT_ITEM,) = examples("A model: one file", "python")
(MODELS,) = examples("A model: one file", "toml")
TOML = """
[project]
name = "chain"

[[sources]]
name = "likes"
kind = "events"
path = "landing"
format = "json"
fields = { user = "string", item = "string", at = "timestamp" }
columns = { user_id = "user", item_id = "item", event = "'like'", occurred_at = "at" }

[[signals]]
event = "like"

[training]
holdout_days = 2

[slate]
k = 3
stored = 6
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


def test_a_model_added_as_one_file_is_trained_promoted_and_serves_its_lists(tmp_path: Path) -> None:
    scratch = ScratchCheckout.create(tmp_path, TOML + MODELS)
    scratch.add("models/next_item.py", NEXT_ITEM)
    leave(scratch.project / "landing" / "likes.json.gz", chain())
    scratch.night(NIGHT)
    # User 0 has liked items 0 to 4: after 4 comes 5, and after nothing else that they liked.
    answer = json.loads(scratch.nightloom("recommend", "u00", "--json"))
    assert answer["items"][0]["item_id"] == "i05"
    why = json.loads(scratch.nightloom("explain", "u00", "--item", "i05", "--json"))
    assert why["model"] == "next_item version 1"
    assert why["causes"][0]["item_id"] == "i04"
