"""Gate 2 on real trainings, with data whose right winner is known: two tastes, and later likes that follow them."""

import re
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pytest

from models import registry
from nightloom import settings as settings_module
from nightloom.contracts import GATES, ITEMS, MODEL_VERDICTS
from nightloom.errors import DataError
from nightloom.night.context import Night, NothingToDo
from nightloom.settings import Settings
from tests.training.small_project import DAY, MakeProject, Row, Track, event, night_of
from training import due, model_gate, registration, train

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
NO_POPULARITY = """
[[models]]
name = "als"
params = { factors = 2, regularisation = 0.1, popularity = 0.0 }
"""
"""For new users all its scores are equal, and the items come in the order of their names."""


RunGate = Callable[..., Night]


def liked(user: str, taste: str, rng: np.random.Generator) -> list[Row]:
    """8 of the taste's 12 items: 6 before the cut, 2 after it."""
    items = [f"{taste}{item:02}" for item in rng.permutation(12)]
    before = [event(user, item, 3 + 10 * rng.random()) for item in items[:6]]
    return before + [event(user, item, 2 * rng.random()) for item in items[6:8]]


@pytest.fixture
def tastes() -> list[Row]:
    """40 users of two tastes."""
    rng = np.random.default_rng(5)
    return [row for user in range(40) for row in liked(f"u{user:02}", "ab"[user % 2], rng)]


@pytest.fixture
def newcomers() -> list[Row]:
    """12 users without history who like the third most popular item; two other items are more popular."""
    fans = [event(f"fan{fan:02}", item, days) for fan in range(45) for item, days in (("zx", 4), ("zy", 5), ("zz", 6))]
    return fans + [event(f"new{user:02}", "zz", 1) for user in range(12)]


@pytest.fixture
def run_gate() -> RunGate:
    """A function that trains the project's models (or one of them) and runs the gate; returns the gate's night."""

    def run(settings: Settings, model: str | None = None, override: str | None = None) -> Night:
        train.main(night_of(settings, when="always", model=model))
        night = night_of(settings, override=override)
        model_gate.main(night)
        return night

    return run


def film(item: str) -> Row:
    return {
        "item_id": item, "title": f"Film {item}", "categories": [], "attributes": [], "available": True,
        "updated_at": DAY, "row_id": item, "night": DAY.date(),
    }  # fmt: skip


def failed(night: Night) -> dict[str, str]:
    """Failed checks of the gate's last rows in ops.gates -> what they observed."""
    rows = night.lake.rows(GATES).to_pylist()
    last = max(row["checked_at"] for row in rows)
    return {row["check"]: row["observed"] for row in rows if row["checked_at"] == last and not row["passed"]}


def missing(night: Night) -> str:
    """What the gate's last warning of a missing champion expects."""
    rows = night.lake.rows(GATES, "\"check\" = 'champion' ORDER BY checked_at").to_pylist()
    assert rows[-1]["severity"] == "warn"
    return str(rows[-1]["expected"])


def verdict(night: Night, version: str) -> dict[str, Any]:
    """The version's last row of ops.model_verdicts."""
    rows = night.lake.rows(MODEL_VERDICTS, f"version = '{version}' ORDER BY judged_at").to_pylist()
    found: dict[str, Any] = rows[-1]
    return found


def page(settings: Settings) -> str:
    """The page of the last comparison in MLflow."""
    client = registry.client(settings)
    (run, *_) = client.search_runs(
        [registration.experiment_id(settings)], "tags.gate = 'model'", order_by=["start_time DESC"]
    )
    found: str = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/comparison.html")
    return found


def champion(settings: Settings) -> str | None:
    found = registry.champion(settings)
    return found.version if found else None


def test_a_better_challenger_is_promoted_and_after_a_tie_or_a_worse_one_the_champion_stays(
    project: MakeProject, tastes: list[Row], tracked: Track, run_gate: RunGate
) -> None:
    settings = tracked(project(["popularity", GOOD], tastes))
    night_of(settings).lake.append(ITEMS, [film(f"{taste}{item:02}") for taste in "ab" for item in range(12)])
    night = run_gate(settings, model="popularity")
    assert (night.tags["verdict"], night.tags["model_version"]) == ("promoted version 1", "1")

    night = run_gate(settings, model="als")
    assert night.tags["verdict"] == "promoted version 2"
    assert failed(night) == {}
    found = registry.champion(settings)
    assert found is not None
    assert (found.version, found.name, found.tags["table_version"]) == ("2", "als", "2")
    row = verdict(night, "2")
    assert (row["outcome"], row["champion"], row["users"]) == ("promoted", "1", 40)
    assert row["gain_low"] > 0
    assert row["score"] > row["champion_score"] == row["popularity_score"]
    shown = page(settings)
    assert "version 2 is promoted" in shown
    assert "als v2: loss" in shown
    assert shown.count("<svg ") == 4  # metric by segment, gains, learning curve, how much of the lists stays
    assert "<b>Film b" in shown
    assert not re.search(r"\bu\d\d\b", shown)  # no user id

    night = run_gate(settings, model="als")  # the same data, the same seed: the same model
    assert night.tags["verdict"] == "kept version 2"
    assert failed(night) == {"better_than_champion": "ndcg@10 +0.0000 [+0.0000, +0.0000]"}
    assert champion(settings) == "2"

    night = run_gate(settings, model="popularity")
    assert night.tags["verdict"] == "kept version 2"
    row = verdict(night, "4")
    assert row["outcome"] == "refused"
    assert row["why"].startswith("better_than_champion: found ndcg@10 -0.")
    assert row["gain_high"] < 0
    described = registry.client(settings).get_model_version("small", "4").description or ""
    assert described.startswith("Gate 2, night of 2026-03-01: refused. better_than_champion: found ndcg@10 -0.")

    with pytest.raises(NothingToDo, match="0 of 7 days"):
        due.main(night_of(settings))


def test_a_challenger_that_is_better_but_fails_one_segment_is_refused(
    project: MakeProject, tastes: list[Row], newcomers: list[Row], tracked: Track, run_gate: RunGate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings = tracked(project(["popularity", NO_POPULARITY], tastes + newcomers))
    run_gate(settings, model="popularity")
    night = run_gate(settings, model="als")
    assert night.tags["verdict"] == "kept version 1"
    assert failed(night) == {"no_loss_on_new_users": "ndcg@10 -0.5000 [-0.5000, -0.5000], 12 users"}
    row = verdict(night, "2")
    assert row["outcome"] == "refused"
    assert row["gain_low"] > 0  # significantly better over all users
    assert dict(row["segments"])["new users"] == 0
    assert "no_loss_on_new_users" in row["why"]

    monkeypatch.setenv("NIGHTLOOM_GATES__MODEL__SEGMENT_LOSS", "1")
    assert run_gate(settings_module.load(settings.file), model="als").tags["verdict"] == "promoted version 3"


def test_no_model_below_popularity_is_promoted_and_without_a_champion_the_gate_says_what_would_help(
    project: MakeProject, tracked: Track, run_gate: RunGate
) -> None:
    rows = [event(f"u{user}", item, 5) for user in range(30) for item in (f"a{user:02}", "zz")]
    newcomers = [event(f"new{user}", "zz", 1) for user in range(10)]
    settings = tracked(project([NO_POPULARITY], rows + newcomers))
    night = run_gate(settings)
    assert night.tags["verdict"] == "no champion"
    assert failed(night).keys() == {"not_below_popularity", "champion"}
    assert "declare the model popularity" in missing(night)
    assert champion(settings) is None
    night = run_gate(settings, override="ann: nothing else there is")
    assert night.tags["verdict"] == "promoted version 2"
    assert verdict(night, "2")["outcome"] == "promoted"


BLEND = """
[[models]]
name = "blend"
params = { members = "als, popularity" }
"""
"""It cannot train on so little."""


@pytest.mark.parametrize(
    ("models", "rows", "found", "expected"),
    [
        ([BLEND, "popularity"], [event("ann", "x", 5)], {"later_users": "0 users"},
         "1 user or more who liked something new in the last 2 days (training.holdout_days); gates.model.mode ="),
        ([BLEND, "als"], [event("ann", "x", 1.5), event("ann", "y", 0.5)], {"challengers": "0 models"},
         "likes so far: 2, all of these days; nights to wait: 1, or training.holdout_days of at most 1"),
        (["sequence"], [event("ann", "x", 0.5)], {"challengers": "0 models"}, "nights to wait: 2"),
        (["als"], [event("ann", "x", 5, weight=0.0)], {"later_users": "0 users"}, "a like: no interaction has a"),
    ],
)  # fmt: skip
def test_a_young_project_gets_no_champion_and_learns_what_is_missing(
    project: MakeProject, tracked: Track, run_gate: RunGate,
    models: list[str], rows: list[Row], found: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("NIGHTLOOM_TRAINING__RANKS", "1")
    night = run_gate(tracked(project(models, rows)))
    assert (night.tags["verdict"], champion(night.settings)) == ("no champion", None)
    assert found.items() <= failed(night).items()
    assert expected in missing(night)


def test_with_a_champion_a_training_without_any_model_fails(
    project: MakeProject, tastes: list[Row], tracked: Track, run_gate: RunGate
) -> None:
    settings = tracked(project(["popularity", BLEND.replace('popularity"', 'popularity", held_out_days = 1')], tastes))
    run_gate(settings, model="popularity")
    with pytest.raises(DataError, match=r"blend: .* nothing chooses the weights"):
        train.main(night_of(settings, when="always", model="blend"))


def in_mode(settings: Settings, mode: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("NIGHTLOOM_GATES__MODEL__MODE", mode)
    return settings_module.load(settings.file)


def test_a_dry_run_gives_the_same_verdict_each_time_and_moves_no_alias(
    project: MakeProject, tastes: list[Row], tracked: Track, run_gate: RunGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tracked(project(["popularity", GOOD], tastes))
    dry = in_mode(settings, "dry_run", monkeypatch)
    night = run_gate(dry, model="popularity")
    assert night.tags["verdict"] == "dry run: would promote version 1, kept none"
    assert "nightloom model promote VERSION" in missing(night)
    run_gate(settings, model="popularity")
    nights = [run_gate(dry, model="als") for _ in range(2)]
    assert nights[0].tags["verdict"] == "dry run: would promote version 3, kept version 2"
    assert champion(settings) == "2"
    rows = [verdict(nights[-1], version) for version in ("3", "4")]
    decisions = [{name: value for name, value in row.items() if name not in ("version", "judged_at")} for row in rows]
    assert decisions[0] == decisions[1]  # the same data, the same decision, to the last digit of the interval
    assert decisions[0]["outcome"] == "passed"


def test_a_disabled_gate_promotes_the_newest_challenger_with_a_warning_in_ops_gates(
    project: MakeProject, tastes: list[Row], tracked: Track, run_gate: RunGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tracked(project(["popularity", GOOD], tastes))
    settings = in_mode(settings, "disabled", monkeypatch)
    run_gate(settings, model="als")
    night = run_gate(settings, model="popularity")
    assert night.tags["verdict"] == "promoted version 2"
    assert failed(night) == {"judged": "gates.model.mode is disabled"}
