"""The refit of gate 2's winner serves; the judged version is what later challengers are compared with."""

import re
from datetime import timedelta

import numpy as np
import pytest
from click.testing import CliRunner

import models
from models import registry
from models.blend import Blend
from models.recommend import scores
from models.registry import REFIT_OF
from models.sequence import Sequence
from nightloom import settings as settings_module
from nightloom.cli import nightloom
from nightloom.contracts import GATES, INTERACTIONS
from nightloom.night.context import Night
from nightloom.settings import Settings
from spark_jobs.model_choice import night_model
from tests.models.checkerboard import EXAMPLES, fitted
from tests.training.small_project import LAST, MakeProject, Row, Track, event, night_of
from tests.training.test_model_gate import page
from training import champions, model_gate, train, trainers

# Warnings are errors here, but MLflow's own are not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}:mlflow.*")
    for kind in ("UserWarning", "DeprecationWarning", "FutureWarning")
]
ALS = """
[[models]]
name = "als"
params = { factors = 2, regularisation = 0.1 }
"""
SEQUENCE = """
[[models]]
name = "sequence"
params = { factors = 8, epochs = 1 }
"""


def liked(user: int) -> list[Row]:
    """6 items of a taste before the cut, and after it one that nobody liked before."""
    taste = "ab"[user % 2]
    before = [event(f"u{user:02}", f"{taste}{(user + item) % 9}", 3 + item / 2) for item in range(6)]
    return [*before, event(f"u{user:02}", f"{taste}-new", 1)]


ROWS = [row for user in range(20) for row in liked(user)]


def run_training(settings: Settings, night: Night | None = None) -> Night:
    """Train, and run gate 2 -> the gate's night."""
    night = night or night_of(settings)
    train.main(night_of(settings, night.date, when="always", model=None))
    gate = night_of(settings, night.date, override=None)
    model_gate.main(gate)
    return gate


def make(project: MakeProject, tracked: Track, model: str = ALS, training: str = "") -> Settings:
    return tracked(project([model], ROWS, replace={"refit = false": f"refit = true\n{training}"}))


def serving(settings: Settings) -> registry.RegisteredVersion:
    found = registry.serving_version(settings)
    assert found is not None
    return found


def refit_check(night: Night) -> Row:
    rows = night.lake.rows(GATES, "\"check\" = 'refit' ORDER BY checked_at").to_pylist()
    found: Row = rows[-1]
    return found


def test_the_winner_serves_with_the_items_of_the_days_that_judged_it(project: MakeProject, tracked: Track) -> None:
    settings = make(project, tracked)
    gate = run_training(settings)
    judged, found = registry.champion(settings), serving(settings)
    assert judged is not None
    assert (judged.version, found.version, found.tags[REFIT_OF]) == ("1", "2", "1")
    assert set(found.model.item_ids) - set(judged.model.item_ids) == {"a-new", "b-new"}
    assert found.model.params == judged.model.params
    assert found.tags["cut"] == gate.end.isoformat()
    chosen = night_model(night_of(settings))
    assert chosen is not None
    assert chosen.version == "2"
    assert (gate.tags["model_version"], gate.tags["verdict"]) == ("2", "promoted version 1, served as version 2")
    assert refit_check(gate)["passed"]
    assert "Version 2 serves: the refit of version 1 (als) on all days up to the night; it knows 2 items more" in page(
        settings
    )


def test_only_judged_versions_are_compared_and_a_kept_champion_gets_a_new_refit(
    project: MakeProject, tracked: Track
) -> None:
    settings = make(project, tracked)
    run_training(settings)
    later = LAST + timedelta(days=1)
    rows = [event(f"u{user:02}", f"{'ab'[user % 2]}-newer", 0.5) for user in range(20)]
    next_day = [row | {"occurred_at": row["occurred_at"] + timedelta(days=1), "night": later} for row in rows]
    night_of(settings).lake.append(INTERACTIONS, next_day)
    gate = run_training(settings, night_of(settings, later))
    judged = registry.champion(settings)
    assert judged is not None
    assert serving(settings).tags[REFIT_OF] == judged.version
    assert {"a-newer", "b-newer"} <= set(serving(settings).model.item_ids)
    assert {each.version for each in registry.versions_of_night(settings, later)} == {"3"}
    rows = gate.lake.rows(GATES, f"night = DATE '{later}' AND \"check\" = 'champion_is_older'").to_pylist()
    assert [row["passed"] for row in rows] == [True]
    assert serving(settings).version == "4"
    model_gate.main(night_of(settings, override=None))  # the older night again
    assert (serving(settings).version, registry.refits(settings)) == ("4", {judged.version: ["2", "4"]})


def test_a_gate_that_runs_again_makes_no_second_refit(project: MakeProject, tracked: Track) -> None:
    settings = make(project, tracked)
    run_training(settings)
    model_gate.main(night_of(settings, override=None))
    assert registry.refits(settings) == {"1": ["2"]}


def test_a_refit_that_does_not_agree_with_the_judged_version_does_not_serve(
    project: MakeProject, tracked: Track, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = SEQUENCE.replace("epochs = 1", "epochs = 9, learning_rate = 0.1")
    gate = run_training(make(project, tracked, fast, "min_refit_agreement = 1"))
    assert (gate.tags["verdict"], gate.tags["model_version"]) == ("promoted version 1", "1")
    check = refit_check(gate)
    assert (check["passed"], check["severity"]) == (False, "warn")
    assert "the refit of version 1 (sequence) shares 0." in check["observed"]
    assert check["observed"].endswith("; version 1 serves")
    assert "model gate, warn: refit: found" in capsys.readouterr().err


def test_a_dry_run_makes_no_refit_and_names_the_version_that_serves(project: MakeProject, tracked: Track) -> None:
    settings = make(project, tracked)
    run_training(settings)
    settings.file.write_text(settings.file.read_text() + '\n[gates.model]\nmode = "dry_run"\n')
    gate = run_training(settings_module.load(settings.file))
    assert registry.refits(settings) == {"1": ["2"]}
    assert (gate.tags["model_version"], gate.tags[REFIT_OF]) == ("2", "1")


def test_a_refit_is_no_champion_and_the_history_shows_it(
    project: MakeProject, tracked: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", "")  # the command sets it; monkeypatch restores it
    settings = make(project, tracked)
    run_training(settings)
    with pytest.raises(registry.RegistryError, match="version 2 is a refit of version 1; promote that one"):
        champions.promote(settings, "2", by="ann", why="x", run_id="r")
    shown = CliRunner().invoke(nightloom, ["--config", str(settings.file), "model", "history", "--json"])
    assert '"refits": [\n   "2"\n  ]' in shown.output
    assert registry.versions_in_use(settings) == {"1", "2"}


def test_a_promotion_by_hand_says_that_the_refit_scores(
    project: MakeProject, tracked: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", "")  # the command sets it; monkeypatch restores it
    settings = make(project, tracked)
    run_training(settings)
    train.main(night_of(settings, LAST, when="always", model=None))
    champions.promote(settings, "3", by="ann", why="x", run_id="r")
    words = ["model", "promote", "1", "--by", "ann", "--why", "better"]
    said = CliRunner().invoke(nightloom, ["--config", str(settings.file), *words])
    assert said.output == (
        "version 1 (als) is champion instead of version 3; the next night scores with version 2, its refit.\n"
    )


BLEND = """
[[models]]
name = "blend"
[models.params]
members = "sequence, als"
held_out_days = 1
"sequence.factors" = 8
"sequence.epochs" = 1
"als.factors" = 2
"als.regularisation" = 0.1
"""


def test_a_blend_takes_a_declared_model_as_its_member_and_trains_each_by_its_own_launcher(
    project: MakeProject, tracked: Track, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = make(project, tracked, f"{SEQUENCE}{BLEND}")
    run_training(settings)
    output = capfd.readouterr().out
    # `sequence` alone, that of the weights, and that of the refit where the blend won
    judged = registry.champion(settings)
    assert judged is not None
    assert output.count("sequence: 2 ranks") == 3
    alone, blend = (registry.load_version(settings, version) for version in ("1", "2"))
    assert isinstance(alone, Sequence)
    assert isinstance(blend, Blend)
    member = blend.members[0]
    assert isinstance(member, Sequence)
    for name, weights in alone.network.state_dict().items():
        assert (member.network.state_dict()[name] == weights).all()
    again = serving(settings)
    assert again.tags[REFIT_OF] == judged.version
    assert {"a-new", "b-new"} <= set(again.model.item_ids)


def test_a_member_that_is_no_model_of_its_own_goes_on_from_its_training_without_the_held_out_days(
    project: MakeProject, tracked: Track, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = make(project, tracked, BLEND.replace('"sequence.epochs" = 1', '"sequence.epochs" = 4'))
    run_training(settings)
    epochs = re.findall(r"sequence: epoch (\d)", capfd.readouterr().out)
    assert "".join(epochs) == "1234" + "12" + "12"  # without these days, the judged one, the refit
    assert serving(settings).tags[REFIT_OF] == "1"


def test_a_blend_keeps_the_weights_that_held_out_likes_chose() -> None:
    judged = fitted("blend", EXAMPLES, members="item_to_item, popularity", held_out_days=0)
    again = trainers.refit(judged, EXAMPLES)
    assert isinstance(judged, Blend)
    assert isinstance(again, Blend)
    np.testing.assert_array_equal(again.weights_M, judged.weights_M)
    assert [member.name for member in again.members] == ["item_to_item", "popularity"]


@pytest.mark.parametrize("name", [name for name in models.names() if name not in ("blend", "sequence")])
def test_a_refit_on_the_same_examples_is_the_same_model(name: str) -> None:
    judged = fitted(name, EXAMPLES)
    again = trainers.refit(judged, EXAMPLES)
    assert again.params == judged.params
    np.testing.assert_array_equal(again.item_ids, judged.item_ids)
    np.testing.assert_array_equal(scores(again, EXAMPLES.histories), scores(judged, EXAMPLES.histories))
