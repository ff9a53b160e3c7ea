"""How the weights of a blend are chosen."""

import pytest

from models.blend import Blend
from nightloom.errors import DataError
from tests.models.checkerboard import EXAMPLES, fitted


def test_a_blend_learns_to_leave_out_a_member_that_only_harms() -> None:
    model = fitted("blend", EXAMPLES, members="item_to_item, popularity", held_out_days=0)
    assert isinstance(model, Blend)
    good, bad = model.weights_M
    assert good > 10 * bad


def test_few_judges_leave_the_members_of_a_blend_alike() -> None:
    model = fitted("blend", EXAMPLES, members="item_to_item, popularity", held_out_days=0, validation_users=4)
    assert isinstance(model, Blend)
    assert model.weights_M.tolist() == [0.5, 0.5]


def test_a_blend_that_nothing_can_judge_is_an_error() -> None:
    with pytest.raises(DataError, match="nobody with a history liked anything new in the last 7 days"):
        fitted("blend", EXAMPLES, members="graph", held_out_days=7)
