"""A new model is one file: in a copy of the checkout that has it, a night trains it and serves its lists."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path

from tests.first_night import leave
from tests.scratch_checkout import ScratchCheckout

NIGHT = date(2026, 3, 1)
ITEMS, USERS = 12, 40

NEXT_ITEM = '''"""What came next: for each like, the item that the user liked after it, as often as that happened."""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array

from models.base import Examples, Report
from models.definition import Definition
from models.item_weights import ItemWeights, ItemWeightsParams


class NextItemParams(ItemWeightsParams):
    smoothing: float = Field(1.0, gt=0)
    """Added to the likes of an item before its share is taken."""


class NextItem(ItemWeights):
    """A chain of items, for users who go from one to the next."""

    name: ClassVar[str] = "next_item"
    params_type = NextItemParams

    @classmethod
    def fit(cls, examples: Examples, params: NextItemParams, report: Report) -> Self:
        """One pass; nothing to report."""
        likes, items = examples.histories, len(examples.item_ids)
        same_user = np.diff(likes.rows_N) == 0
        pairs = likes.items[:-1][same_user], likes.items[1:][same_user]
        counts_II = csr_array((np.ones(len(pairs[0]), np.float32), pairs), shape=(items, items))
        total_I = np.asarray(counts_II.sum(axis=1)) + params.smoothing
        return cls.of(params, examples, csr_array(counts_II.multiply(1 / total_I[:, None]), dtype=np.float32))


MODEL = Definition(NextItem, NextItemParams)
'''

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

[[models]]
name = "next_item"
params = { smoothing = 0.5 }

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
    scratch = ScratchCheckout.create(tmp_path, TOML)
    scratch.add("models/next_item.py", NEXT_ITEM)
    leave(scratch.project / "landing" / "likes.json.gz", chain())
    scratch.night(NIGHT)
    # User 0 has liked items 0 to 4: after 4 comes 5, and after nothing else that they liked.
    answer = json.loads(scratch.nightloom("recommend", "u00", "--json"))
    assert answer["items"][0]["item_id"] == "i05"
    why = json.loads(scratch.nightloom("explain", "u00", "--item", "i05", "--json"))
    assert why["model"] == "next_item version 1"
    assert why["causes"][0]["item_id"] == "i04"
