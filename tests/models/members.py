"""Users with attributes whose likes differ by them: data for the tests of segments and of the blend."""

from dataclasses import replace
from typing import Any

import numpy as np

from models.base import Examples, Histories
from models.features import Features

USERS, ITEMS, CUT = 60, 8, 1_000_000_000
ITEM_IDS = np.array([f"i{item}" for item in range(ITEMS)])
WORDS = [[f"city={'Ulm' if user % 3 else 'Jena'}", *(["age=30-39"] if user % 2 else [])] for user in range(USERS - 1)]


def members() -> Examples:
    """Random likes of unequal weight, in Jena more of the even items; the last user has no words."""
    rng = np.random.default_rng(5)
    rows = rng.integers(0, USERS, 900)
    items = rng.integers(0, ITEMS, 900)
    items -= (items % 2) * (rows % 3 == 0) * (rng.random(900) < 0.7)
    weights = rng.choice([0.5, 1, 2], 900).astype(np.float32)
    histories = Histories.from_events(USERS, rows, items.astype(np.int32), weights, CUT - rng.integers(0, 10**6, 900))
    return Examples(ITEM_IDS, replace(histories, user_features=Features.from_lists([*WORDS, []])), CUT, seed=0)


def strangers(*words: list[str]) -> Histories:
    nothing: list[list[Any]] = [[] for _ in words]
    return Histories.from_lists(ITEM_IDS, nothing, nothing, nothing, words)
