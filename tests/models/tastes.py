"""Two tastes, and attributes that tell them apart: data for the tests of the two towers."""

from dataclasses import replace

import numpy as np

from models.base import F32, Examples, Histories
from models.features import Features
from models.two_tower import TwoTower
from training import trainers

PEOPLE, EACH, CUT = 60, 10, 1_000_000_000
PARAMS = {"factors": 8, "epochs": 20, "batch": 60, "negatives": 10, "buckets": 1 << 10, "learning_rate": 0.1}
IDS = np.array([f"{taste}{n}" for taste in "ab" for n in range(EACH)] + ["cold-a", "cold-b"])
"""Ten items that users of taste a like, ten of b, and one of each that nobody liked."""


def taste_of(item_id: str) -> str:
    return item_id.removeprefix("cold-")[0]


def tastes() -> Examples:
    """User n likes five items of taste n % 2; every item and every user has a word for the taste, and one that says
    nothing."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(PEOPLE), 5)
    liked = np.concatenate([EACH * (n % 2) + rng.permutation(EACH)[:5] for n in range(PEOPLE)]).astype(np.int32)
    times = CUT - rng.integers(1, 10_000, len(rows))
    histories = Histories.from_events(PEOPLE, rows, liked, np.ones(len(rows), np.float32), times)
    features = Features.from_lists([[f"likes={'ab'[n % 2]}", f"zip={n % 7}"] for n in range(PEOPLE)])
    items = Features.from_lists([[f"category={taste_of(one)}", f"year={n % 3}"] for n, one in enumerate(IDS.tolist())])
    return Examples(IDS, replace(histories, user_features=features), CUT, seed=1, item_features=items)


def fitted(known: Examples, **more: float) -> TwoTower:
    model = trainers.fit("two_tower", known, PARAMS | more)
    assert isinstance(model, TwoTower)
    return model


def scores(model: TwoTower, histories: Histories) -> F32:
    return np.asarray(model.encode(histories) @ model.items_ID.T + model.bias_I, np.float32)


def newcomer(model: TwoTower, items: list[str], words: list[str]) -> Histories:
    return Histories.from_lists(model.item_ids, [items], [[1.0] * len(items)], [range(len(items))], [words])
