"""The promotion rule of gate 2 on constructed scorecards, for cases that real trainings cannot produce exactly."""

from typing import Any

import numpy as np
import pytest

from nightloom.settings import ModelGate
from training.ranking_metrics import F64
from training.scorecard import ALL, SEGMENTS, TAIL, WARM, Scorecard
from training.verdict import Comparison, decide

NOISE = np.random.default_rng(0).normal(0, 0.05, 50)
"""The same for all models: it cancels in a paired comparison."""
RULES = ModelGate()


def card(mean: float | F64, **segments: float) -> Scorecard:
    """A scorecard of 50 users around a mean; a named segment has 20 users around a mean of its own."""
    all_users = mean + NOISE
    per_user = {segment: all_users for segment in SEGMENTS}
    for name, value in segments.items():
        per_user[name.replace("_", " ")] = np.where(np.arange(50) < 20, value + NOISE, np.nan)
    return Scorecard(np.zeros((50, 1), np.int32), {"ndcg": per_user}, {})


def comparison(challengers: dict[str, Scorecard], champion: Scorecard | None, **more: Any) -> Comparison:
    evaluation_set: Any = None  # the rule uses only the scorecards
    return Comparison(evaluation_set, challengers, champion, card(0.1), **more)


def test_a_gain_that_is_not_significant_keeps_the_champion() -> None:
    noisy = card(0.3 + np.random.default_rng(1).normal(0.01, 0.2, 50))
    verdict = decide(comparison({"7": noisy}, card(0.3)), RULES, seed=0)
    assert (verdict.best, verdict.promoted) == ("7", False)
    assert verdict.reason("7").startswith("better_than_champion: found ndcg@10 ")


@pytest.mark.parametrize(("min_gain", "promoted"), [(0.01, True), (0.03, False)])
def test_the_gain_must_be_as_large_as_declared(min_gain: float, promoted: bool) -> None:
    verdict = decide(comparison({"7": card(0.32)}, card(0.3)), ModelGate(min_gain=min_gain), seed=0)
    assert verdict.promoted is promoted


@pytest.mark.parametrize(("value", "promoted"), [(0.28, True), (0.26, False)])
def test_a_segment_may_lose_as_much_as_declared(value: float, promoted: bool) -> None:
    """0.3 for the champion: a tenth less is 0.27."""
    verdict = decide(comparison({"7": card(0.4, tail_items=value)}, card(0.3, tail_items=0.3)), RULES, seed=0)
    assert verdict.promoted is promoted
    assert verdict.gains["7"][TAIL].mean == pytest.approx(value - 0.3)


def test_a_loss_that_so_few_users_cannot_show_is_tolerated_and_the_check_says_how_many_could() -> None:
    champion, challenger = card(0.3, tail_items=0.3), card(0.4, tail_items=0.3)
    challenger.per_user["ndcg"][TAIL][:20] += np.linspace(-0.54, 0.46, 20)
    verdict = decide(comparison({"7": challenger}, champion), RULES, seed=0)
    assert verdict.gains["7"][TAIL].mean == pytest.approx(-0.04)  # 0.03 is declared
    assert verdict.promoted
    (check,) = (check for check in verdict.checks if check.name == "no_loss_on_tail_items")
    # The deviation of the gains is 0.3114: 2.486 * 0.3114 / sqrt(20), and (2.486 * 0.3114 / 0.0291)^2 users.
    expected = "lower end at least -0.1731, which 20 users can show (-0.0291 is declared: about 709 can show it)"
    assert check.expected == expected


def test_with_more_challengers_none_passes_more_easily() -> None:
    """The same challenger beside copies of itself: what it must show on a segment grows."""
    champion, challenger = card(0.3, tail_items=0.3), card(0.4, tail_items=0.3)
    challenger.per_user["ndcg"][TAIL][:20] += np.linspace(-0.54, 0.46, 20)
    verdict = decide(comparison({str(n): challenger for n in range(1, 21)}, champion), RULES, seed=0)
    assert not verdict.promoted
    assert "no_loss_on_tail_items" in verdict.reason("1")


SHOWN = 0.12
"""A loss that 80 users with gains of deviation 0.3 can show: 2.486 * 0.3 / sqrt(80) = 0.083."""


def promotions(losses: list[float], users: int = 80, nights: int = 40) -> int:
    """On how many nights one of the challengers is promoted: each is better by 0.1, and loses so much on a segment."""

    def planted(mean: float, warm_U: F64) -> Scorecard:
        per_user = {segment: np.full(80, mean) for segment in SEGMENTS}
        per_user[WARM] = np.concatenate([0.3 + warm_U, np.full(80 - users, np.nan)])
        return Scorecard(np.zeros((80, 1), np.int32), {"ndcg": per_user}, {})

    promoted = 0
    for night in range(nights):
        rng = np.random.default_rng(night)
        challengers = {str(n): planted(0.4, rng.normal(-loss, 0.3, users)) for n, loss in enumerate(losses, 1)}
        promoted += decide(comparison(challengers, planted(0.3, np.zeros(users))), RULES, seed=night).promoted
    return promoted


def test_of_twenty_challengers_that_lose_on_a_segment_none_slips_through() -> None:
    assert promotions([SHOWN] * 20) <= 2  # of 40 nights: 5 %


def test_a_model_that_is_equal_on_a_small_segment_is_not_refused_for_ever() -> None:
    assert promotions([0.0], users=20) >= 24  # the test's power is 80 %
    assert promotions([-SHOWN], users=20) >= 38  # a better one all the more


def test_a_segment_of_less_than_ten_users_is_not_checked() -> None:
    champion, challenger = card(0.3, tail_items=0.3), card(0.4, tail_items=0.0)
    for each in (champion, challenger):
        each.per_user["ndcg"][TAIL][9:] = np.nan
    verdict = decide(comparison({"7": challenger}, champion), RULES, seed=0)
    assert verdict.promoted
    assert "9 users: too few to judge" in [check.observed for check in verdict.checks]


def test_if_the_best_fails_on_a_segment_the_next_that_passes_is_promoted() -> None:
    challengers = {"7": card(0.5, tail_items=0.0), "8": card(0.4), "9": card(0.35)}
    verdict = decide(comparison(challengers, card(0.3)), RULES, seed=0)
    assert (verdict.best, verdict.promoted) == ("8", True)
    assert "no_loss_on_tail_items" in verdict.reason("7")


def test_in_a_tie_the_older_challenger_is_promoted() -> None:
    assert decide(comparison({"9": card(0.4), "10": card(0.4)}, card(0.3)), RULES, seed=0).best == "9"


def test_intervals_are_wider_with_more_challengers() -> None:
    lucky = card(0.3 + np.random.default_rng(1).normal(0.01, 0.2, 50))
    one = decide(comparison({"1": lucky}, card(0.3)), RULES, seed=0).gains["1"][ALL]
    ten = decide(comparison({str(n): lucky for n in range(1, 11)}, card(0.3)), RULES, seed=0).gains["1"][ALL]
    assert ten.low < one.low < one.mean == ten.mean


def test_below_popularity_no_model_is_promoted_and_no_check_stops_the_night() -> None:
    verdict = decide(comparison({"7": card(0.09)}, None), RULES, seed=0)
    assert not verdict.promoted
    assert [(check.name, check.severity) for check in verdict.checks] == [("not_below_popularity", "warn")]
    assert not decide(comparison({"7": card(0.09)}, card(0.05)), RULES, seed=0).promoted


def test_a_champion_that_was_trained_on_the_holdout_stays() -> None:
    verdict = decide(comparison({"7": card(0.5)}, card(0.3), champion_trained_on_holdout=True), RULES, seed=0)
    assert not verdict.promoted
    assert [check.name for check in verdict.checks if not check.passed] == ["champion_is_older"]
