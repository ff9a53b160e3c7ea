"""The two towers: what is new, user or item, is ranked rightly by its attributes alone."""

import numpy as np
import pytest

from models.base import Histories
from models.two_tower import TwoTower
from tests.models.tastes import EACH, IDS, PEOPLE, fitted, newcomer, scores, taste_of, tastes


@pytest.fixture(scope="module")
def model() -> TwoTower:
    return fitted(tastes())


def test_of_two_cold_items_the_one_of_the_users_taste_ranks_higher_for_every_user(model: TwoTower) -> None:
    cold_a, cold_b = scores(model, tastes().histories)[:, -2:].T
    assert ((cold_a > cold_b) == (np.arange(PEOPLE) % 2 == 0)).all()


def test_a_cold_item_of_the_users_taste_ranks_above_known_items_of_the_other(model: TwoTower) -> None:
    found = scores(model, newcomer(model, ["a0", "a1", "a2"], []))[0]
    assert found[IDS == "cold-a"] > found[EACH : 2 * EACH].max()


@pytest.mark.parametrize("taste", ["a", "b"])
def test_a_cold_user_gets_what_their_words_foretell(model: TwoTower, taste: str) -> None:
    best = np.argsort(-scores(model, newcomer(model, [], [f"likes={taste}", "zip=3"]))[0])[:EACH]
    assert {taste_of(one) for one in IDS[best].tolist()} == {taste}


def test_what_a_user_likes_counts_more_than_a_word_that_says_nothing(model: TwoTower) -> None:
    plain, odd = (scores(model, newcomer(model, ["b0", "b1"], words))[0] for words in ([], ["zip=5", "never heard of"]))
    assert [taste_of(IDS[found[:-2].argmax()]) for found in (plain, odd)] == ["b", "b"]


def test_a_cold_user_without_words_gets_what_is_popular(model: TwoTower) -> None:
    np.testing.assert_array_equal(scores(model, newcomer(model, [], []))[0], model.bias_I)
    assert model.bias_I[-2:] == pytest.approx(model.bias_I.min())  # nobody liked these two


def test_contributions_add_up_to_what_the_history_moves(model: TwoTower) -> None:
    histories = Histories.from_lists(IDS, [["a0", "a1", "a0", "b3"]], [[1, 2, 1, 0.5]], [range(4)], [["likes=b"]])
    whole, words = scores(model, histories)[0], scores(model, newcomer(model, [], ["likes=b"]))[0]
    for place in range(len(IDS)):
        assert model.contributions(histories, place).sum() == pytest.approx(whole[place] - words[place], abs=1e-5)


def test_likes_beyond_the_length_are_forgotten() -> None:
    short = fitted(tastes(), epochs=1, length=2)
    longer, last = (short.encode(newcomer(short, items, [])) for items in (["a5", "b0", "b1"], ["b0", "b1"]))
    np.testing.assert_array_equal(longer, last)
