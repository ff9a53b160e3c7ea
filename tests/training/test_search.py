"""The search, on data whose best half-life is known, and differs from the best on the holdout of gate 2."""

import json
import time
from pathlib import Path

import mlflow
import pytest

from models import registry
from nightloom import settings as settings_module
from nightloom.contracts import INTERACTIONS
from nightloom.errors import SettingsError
from nightloom.settings import Settings
from tests.training.small_project import MakeProject, Row, Track, event, night_of
from training import fit, registration, search, train

# Warnings are errors here, but MLflow's own are not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}:mlflow.*")
    for kind in ("UserWarning", "DeprecationWarning", "FutureWarning")
]

POPULARITY = """
[[models]]
name = "popularity"
params = { half_life_days = 300.0 }
search = { half_life_days = { low = 0.5, high = 500.0, log = true } }
"""


@pytest.fixture
def fashion() -> list[Row]:
    """Long ago 30 liked `old`, lately 10 liked `new`; newcomers, too, on the last two days that are trained on.

    On the two days that judge everybody turns to `old` again.
    """
    rows = [event(f"a{n}", "old", 60) for n in range(30)] + [event(f"b{n}", "new", 5) for n in range(10)]
    return rows + [event(f"c{n}", "new", 3) for n in range(5)] + [event(f"d{n}", "old", 1) for n in range(20)]


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_TRAINING__SEARCH_MINUTES", "1")
    monkeypatch.setenv("NIGHTLOOM_TRAINING__SEARCH_TRIALS", "8")
    monkeypatch.setenv("NIGHTLOOM_GATES__MODEL__K", "1")


def task_of(settings: Settings) -> fit.Task:
    night = night_of(settings)
    return fit.task_of(night, night.pin(INTERACTIONS))


@pytest.mark.usefixtures("searching")
def test_the_challenger_is_trained_with_what_is_best_on_validation_and_the_study_is_in_mlflow(
    project: MakeProject, tracked: Track, fashion: list[Row]
) -> None:
    settings = tracked(project([POPULARITY], fashion))
    train.main(night_of(settings, when="always", model=None))
    client = registry.client(settings)
    version = client.get_model_version("small", "1")
    chosen_value = float(client.get_run(str(version.run_id)).data.params["half_life_days"])
    # `new` leads where 10 likes of 1 day before the validation's cut outweigh 30 of 56 days before.
    assert 0.5 <= chosen_value < 55 / 1.585

    (study,) = client.search_runs([registration.experiment_id(settings)], "tags.search = 'popularity'")
    values = {one.step: one.value for one in client.get_metric_history(study.info.run_id, "ndcg_at_1")}
    assert len(values) == 8
    assert (values[0], max(values.values())) == (0, 1)  # as declared, and the best
    assert float(study.data.params["half_life_days"]) == chosen_value
    trials = json.loads(mlflow.artifacts.load_text(f"{study.info.artifact_uri}/trials.json"))["trials"]
    assert {trial["state"] for trial in trials} == {"COMPLETE"}

    again = search.with_best_params(night_of(settings), task_of(settings), settings.models)
    assert again[0].params == {"half_life_days": chosen_value}  # the same data, the same trials


def test_nothing_is_searched_unless_minutes_are_given(project: MakeProject, fashion: list[Row]) -> None:
    settings = project([POPULARITY], fashion)
    assert search.with_best_params(night_of(settings), task_of(settings), settings.models) == list(settings.models)


ENDLESS = """
[[models]]
name = "als"
params = { sweeps = 1000000, factors = 2 }
search = { regularisation = { low = 0.01, high = 1.0 } }
"""


def test_the_time_limit_also_ends_a_trial(
    project: MakeProject, tracked: Track, fashion: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLOOM_TRAINING__SEARCH_MINUTES", "0.01")
    settings = tracked(project([ENDLESS], fashion))
    registration.experiment_id(settings)
    night, task, started = night_of(settings), task_of(settings), time.monotonic()
    assert search.with_best_params(night, task, settings.models) == list(settings.models)  # no trial finished
    assert time.monotonic() - started < 20


@pytest.mark.usefixtures("searching")
def test_a_name_that_the_model_does_not_know_is_an_error_that_says_so(project: MakeProject, fashion: list[Row]) -> None:
    wrong = POPULARITY.replace("search = { half_life_days", "search = { half_live")
    known = r"unknown hyper-parameter; popularity has half_life_days\. Did you mean 'half_life_days'\?"
    with pytest.raises(SettingsError, match=rf"nightloom.toml, line \d+: models\.0\.search\.half_live: {known}"):
        project([wrong], fashion)


@pytest.mark.usefixtures("searching")
def test_without_anybody_to_validate_on_the_params_stay(
    project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = project([POPULARITY], [event("ann", "x", 5)])
    assert search.with_best_params(night_of(settings), task_of(settings), settings.models) == list(settings.models)
    assert "no search: nobody" in capsys.readouterr().out


@pytest.mark.parametrize("span", ["{ low = 2, high = 1 }", "{ low = 0.0, high = 1.0, log = true }"])
def test_a_span_that_holds_nothing_is_an_error(span: str, tmp_path: Path, project: MakeProject) -> None:
    with pytest.raises(SettingsError, match="nothing can be searched"):
        project([f'[[models]]\nname = "popularity"\nsearch = {{ half_life_days = {span} }}\n'], [])


def test_whole_numbers_are_searched_as_such(project: MakeProject) -> None:
    settings = project(['[[models]]\nname = "als"\nsearch = { factors = { low = 8, high = 64, log = true } }\n'], [])
    span = settings_module.load(settings.file).models[0].search["factors"]
    assert (span.low, span.high, type(span.low)) == (8, 64, int)
