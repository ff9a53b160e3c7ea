"""When a training is due, and what the run says."""

import pytest

from nightloom.settings import Training
from training.due import judged

RULES = Training(every_days=7, new_rows_share=0.2)


@pytest.mark.parametrize(
    ("age", "grown", "due", "why"),
    [
        (1, 0.05, False, "1 of 7 days"),
        (7, 0.0, True, "schedule"),
        (6, 0.2, True, "volume"),
        (9, 0.5, True, "schedule"),
        (-3, 0.0, False, "-3 of 7 days"),
    ],
)
def test_due_by_schedule_or_by_volume(age: int, grown: float, due: bool, why: str) -> None:
    verdict, said = judged(RULES, age, grown)
    assert verdict is due
    assert why in said
