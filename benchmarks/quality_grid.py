"""What `./run bench quality` chooses among: (model, params), all of them trained and judged on validation."""

from typing import Any

Candidate = tuple[str, dict[str, Any]]

GIVEN_SPLIT: tuple[Candidate, ...] = (
    ("popularity", {}),
    ("item_to_item", {"neighbours": 200}),
    *(("graph", {"sharpness": sharpness, "user_power": 0.15, "neighbours": 1000}) for sharpness in (0.05, 0.1)),
)
