"""Gate 2 by real trainings, on data where the right winner is known: two tastes, and new likes that follow them."""

from collections.abc import Callable

import numpy as np
import pytest

from nightloom.errors import GateClosedError
from nightloom.manifest import Night, NothingToDo
from nightloom.settings import ModelGate, Settings
from nightloom.tables import GATES
from tests.training.small import MakeProject, Row, Track, event, night_of
from training import due, model_gate, registry, train
from training.evaluate import Scorecard
from training.model_gate import Contest, decide

# Warnings are errors here, but MLflow's own are not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}:mlflow.*")
    for kind in ("UserWarning", "DeprecationWarning", "FutureWarning")
]


GOOD = """
[[models]]
name = "als"
params = { factors = 2, regularisation = 0.1, popularity = 0.1 }
"""
DEAF = """
[[models]]
name = "als"
params = { popularity = 0.0 }
"""
"""To newcomers it has nothing to say: all scores are equal, and the items come in the order of their names."""


Judged = Callable[..., Night]


@pytest.fixture
def tastes() -> list[Row]:
    """40 users of two tastes, 12 items each; everybody likes 6 of their own before the cut and 2 more after it."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(40):
        items = [f"{'ab'[user % 2]}{item:02}" for item in rng.permutation(12)]
        rows += [event(f"u{user:02}", item, 3 + 10 * rng.random()) for item in items[:6]]
        rows += [event(f"u{user:02}", item, 2 * rng.random()) for item in items[6:8]]
    return rows


@pytest.fixture
def judged() -> Judged:
    """Train the project's models (or one of them), then ask the gate; returns the gate's night."""

    def run(settings: Settings, model: str | None = None, override: str | None = None) -> Night:
        train.main(night_of(settings, when="always", model=model))
        night = night_of(settings, override=override)
        model_gate.main(night)
        return night

    return run


def verdicts(night: Night) -> dict[str, bool]:
    """The gate's last rows in ops.gates."""
    rows = night.lake.rows(GATES).to_pylist()
    last = max(row["checked_at"] for row in rows)
    return {row["check"]: row["passed"] for row in rows if row["checked_at"] == last}


def test_a_better_challenger_is_promoted_and_a_tie_keeps_the_champion(
    project: MakeProject, tastes: list[Row], tracked: Track, judged: Judged
) -> None:
    settings = tracked(project(["popularity", GOOD], tastes))
    night = judged(settings, model="popularity")
    assert (night.facts["verdict"], night.facts["model_version"]) == ("promoted version 1", "1")

    night = judged(settings, model="als")
    assert night.facts["verdict"] == "promoted version 2"
    assert all(verdicts(night).values())
    champion = registry.champion(settings)
    assert champion is not None
    assert (champion.version, champion.name, champion.tags["table_version"]) == ("2", "als", "2")

    night = judged(settings, model="als")  # the same data, the same seed: the same model
    assert night.facts["verdict"] == "kept version 2"
    assert verdicts(night)["better_than_champion"] is False
    champion = registry.champion(settings)
    assert champion is not None
    assert champion.version == "2"

    night = judged(settings, model="popularity")  # worse
    assert night.facts["verdict"] == "kept version 2"

    skipped = night_of(settings)
    with pytest.raises(NothingToDo, match="0 of 7 days old"):
        due.main(skipped)


def test_nobody_below_popularity_is_promoted_and_with_nobody_to_serve_the_gate_closes(
    project: MakeProject, tracked: Track, judged: Judged
) -> None:
    rows = [event(f"u{user}", item, 5) for user in range(30) for item in (f"a{user:02}", "zz")]
    newcomers = [event(f"new{user}", "zz", 1) for user in range(10)]
    settings = tracked(project([DEAF], rows + newcomers))
    with pytest.raises(GateClosedError, match="not_below_popularity"):
        judged(settings)
    assert registry.champion(settings) is None
    night = judged(settings, override="ann: nothing else there is")
    assert night.facts["verdict"] == "promoted version 2"


def test_with_nothing_trained_and_no_champion_the_gate_closes(
    project: MakeProject, tastes: list[Row], tracked: Track
) -> None:
    settings = tracked(project(["popularity"], tastes))
    with pytest.raises(GateClosedError, match="challengers"):
        model_gate.main(night_of(settings, override=None))


def test_when_nobody_can_be_judged_the_gate_closes_and_says_so(
    project: MakeProject, tracked: Track, judged: Judged
) -> None:
    settings = tracked(project(["popularity"], [event("ann", "x", 5)]))
    with pytest.raises(GateClosedError, match="later_users is 0 users"):
        judged(settings)


def cards(*means: float) -> list[Scorecard]:
    """Scorecards of 50 users around a mean, the same noise for all."""
    noise = np.random.default_rng(0).normal(0, 0.05, 50)
    return [Scorecard({"ndcg": mean + noise, "recall": mean + noise, "mrr": mean + noise}, 0.5) for mean in means]


def test_a_gain_that_may_be_chance_keeps_the_champion() -> None:
    champion, popularity = cards(0.3, 0.1)
    noisy = Scorecard({"ndcg": champion.per_user["ndcg"] + np.random.default_rng(1).normal(0.01, 0.2, 50)}, 0.5)
    verdict = decide(Contest({"7": noisy}, champion, popularity, 50), ModelGate(), seed=0)
    assert (verdict.best, verdict.promoted) == ("7", False)


def test_the_gain_must_be_as_large_as_declared() -> None:
    challenger, champion, popularity = cards(0.32, 0.3, 0.1)
    contest = Contest({"7": challenger}, champion, popularity, 50)
    assert decide(contest, ModelGate(min_gain=0.01), seed=0).promoted
    assert not decide(contest, ModelGate(min_gain=0.03), seed=0).promoted


def test_a_champion_that_was_trained_on_the_judging_days_stays() -> None:
    challenger, champion, popularity = cards(0.5, 0.3, 0.1)
    contest = Contest({"7": challenger}, champion, popularity, 50, champion_saw_it=True)
    verdict = decide(contest, ModelGate(), seed=0)
    assert not verdict.promoted
    assert [check.name for check in verdict.checks if not check.passed] == ["champion_is_older"]
