"""The candidates of `./run bench quality`: (name, params). All of them are trained, and measured on validation.

A name is a model's, or a model's with the kind of histories that the params are for: `--models sequence` selects all
candidates of a model, `--models sequence/short` one.
"""

from typing import Any

Candidate = tuple[str, dict[str, Any]]

TRENDS = {
    "user_power": 0.5, "item_power": 0.35, "sharpness": 0.25, "trends": 512, "trend_weight": 0.2, "neighbours": 1000,
}  # fmt: skip
"""The graph filter with its broadest trends."""
GIVEN_SPLIT: tuple[Candidate, ...] = (
    ("popularity", {}),
    ("als", {"factors": 64, "popularity": 0.0}),
    ("item_to_item", {"neighbours": 200}),
    ("graph", {"sharpness": 0.05, "user_power": 0.15, "neighbours": 1000}),
    *(("graph", {**TRENDS, "lift": lift}) for lift in (0.2, 0.25)),
)
NEXT = {
    "horizon": 1, "logit_scale": 1.0, "popularity": False, "precision": "bfloat16", "length": 200,
    "learning_rate": 0.002,
}  # fmt: skip
"""The sequence model without what it has for nights and their times."""
LEAVE_ONE_OUT: tuple[Candidate, ...] = (
    ("popularity", {}),
    ("als", {"factors": 64, "popularity": 0.0}),
    ("sequence/short", {**NEXT, "blocks": 1, "dropout": 0.3, "item_dropout": 0.3, "epochs": 30}),
    ("sequence/long", {**NEXT, "blocks": 2, "dropout": 0.2, "item_dropout": 0.2, "epochs": 80}),
)
GRIDS = {"given-split": GIVEN_SPLIT, "leave-one-out": LEAVE_ONE_OUT}


def model_of(name: str) -> str:
    """The model of a candidate: its name up to the slash."""
    return name.partition("/")[0]
