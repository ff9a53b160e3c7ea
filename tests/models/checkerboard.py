"""Data for the tests of models: a checkerboard with a provably right answer, random likes, models trained on them."""

from functools import cache
from typing import Any

import numpy as np

import models
from models.base import Examples, Histories, Model
from training import trainers

USERS, ITEMS, CUT = 40, 12, 1_000_000_000
PARAMS = {name: models.definition(name).example_params for name in models.names()}


def checkerboard() -> Examples:
    """Even users like even items, odd users odd ones; each leaves out one of them, and item 0 and 1 come up last."""
    rng = np.random.default_rng(1)
    rows, items = [], []
    for user in range(USERS):
        own = [item for item in range(user % 2, ITEMS, 2) if item // 2 != (user // 2) % (ITEMS // 2)]
        rows += [user] * len(own)
        items += rng.permutation(own).tolist()
    order = np.arange(len(rows))
    histories = Histories.from_events(
        USERS, np.array(rows), np.array(items, np.int32), np.ones(len(rows), np.float32), CUT - 500 + order
    )
    return Examples(np.array([f"i{item:02}" for item in range(ITEMS)]), histories, CUT, seed=3)


EXAMPLES = checkerboard()


def weighted() -> Examples:
    """Random likes of unequal weight, some of an item twice."""
    rng = np.random.default_rng(4)
    rows, items = rng.integers(0, 30, 260), rng.integers(0, 9, 260).astype(np.int32)
    weights = rng.choice([0.5, 1, 2], 260).astype(np.float32)
    histories = Histories.from_events(30, rows, items, weights, CUT - rng.integers(0, 9, 260))
    return Examples(np.array([f"i{item}" for item in range(9)]), histories, CUT, seed=0)


def fitted(name: str, known: Examples, **params: Any) -> Model:
    return trainers.fit(name, known, params)


@cache
def trained(name: str) -> Model:
    """On the checkerboard."""
    return fitted(name, EXAMPLES, **PARAMS[name])
