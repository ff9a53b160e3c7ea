"""The command training.train, with real Horovod and MLflow, and the runs and versions in MLflow."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import models
from models import registry
from models.blend import Blend, BlendParams
from models.recommend import scores
from nightloom.contracts import INTERACTIONS, STAGES
from nightloom.errors import SettingsError
from nightloom.night.context import NothingToDo
from nightloom.places import folder_of
from nightloom.settings import Settings
from tests.training.small_project import MakeProject, Track, event, night_of
from training import distributed, fit, launch, registration, train, trainers
from training.trainers.blend import hold_out

# Warnings are errors here, but MLflow's own are not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}:mlflow.*")
    for kind in ("UserWarning", "DeprecationWarning", "FutureWarning")
]


SEQUENCE = """
[[models]]
name = "sequence"
params = { factors = 8, length = 6, epochs = 2, batch = 5 }
"""


@pytest.fixture
def trained(project: MakeProject, tracked: Track) -> tuple[Settings, str]:
    rng = np.random.default_rng(0)
    rows = [
        event(f"u{user}", f"i{item}", 3 + 20 * rng.random()) for user in range(12) for item in rng.permutation(8)[:5]
    ]
    settings = tracked(project(["popularity", SEQUENCE], rows))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "training.train", "--date", "2026-03-01", "--config", str(settings.file)]
    process = subprocess.run(
        command, cwd=root, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return settings, process.stdout


def test_the_command_leaves_runs_curves_data_sets_and_versions_in_mlflow(trained: tuple[Settings, str]) -> None:
    settings, output = trained
    assert "sequence: 2 ranks" in output
    assert "epoch 2, loss" in output
    found = {one.name: one for one in registry.versions_of_night(settings, night_of(settings).date)}
    assert found.keys() == {"popularity", "sequence"}
    tags = found["sequence"].tags
    assert (tags["table"], tags["table_version"], tags["rows"], tags["cut"][:10]) == (
        "silver.interactions", "2", "60", "2026-02-28",
    )  # fmt: skip

    client = registry.client(settings)
    version = client.get_model_version("small", found["sequence"].version)
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert run.inputs is not None
    losses = [metric.value for metric in client.get_metric_history(version.run_id, "loss")]
    assert len(losses) == 2
    assert run.data.params["factors"] == "8"
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["silver.interactions v2"]
    stage = night_of(settings).lake.rows(STAGES).to_pylist()[-1]
    assert (stage["stage"], stage["status"]) == ("training.train", "ok")
    assert dict(stage["reads"]) == {"silver.interactions": 2}

    # Any MLflow tool can serve it: a frame in, lists out, without what was liked.
    served = mlflow.pyfunc.load_model(f"models:/small/{found['sequence'].version}")
    request = pd.DataFrame({"user_id": ["new", "cold"], "items": [["i1", "i2"], []], "k": [3, 2]})
    answer = served.predict(request)
    assert [len(items) for items in answer["items"]] == [3, 2]
    assert not {"i1", "i2"} & set(answer["items"][0])
    assert all(np.diff(scores).max() <= 0 for scores in answer["scores"])


def test_the_first_night_trains_and_others_skip_while_there_is_a_champion(project: MakeProject, tracked: Track) -> None:
    settings = tracked(project(["popularity"], [event("ann", "x", 5)]))
    train.main(night_of(settings, when="first", model=None))
    registration.set_alias(settings, registry.CHAMPION, "1")
    with pytest.raises(NothingToDo, match="version 1 \\(popularity\\) is champion"):
        train.main(night_of(settings, when="first", model=None))


BLEND = """
[[models]]
name = "blend"
params = { members = "graph, item_to_item", held_out_days = 0, "graph.neighbours" = 5 }
"""


def test_a_blend_is_registered_with_its_members_and_lists_from_there(project: MakeProject, tracked: Track) -> None:
    rows = [event(f"u{user}", f"i{item}", 5) for user in range(12) for item in range(8) if (user + item) % 4]
    settings = tracked(project([BLEND], rows))
    train.main(night_of(settings, when="always", model=None))
    (found,) = registry.versions_of_night(settings, night_of(settings).date)
    assert (found.name, len(found.model.item_ids)) == ("blend", 8)
    assert_serves_without_checkout(settings, found.version)


SERVE = """
import sys
from pathlib import Path
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
served = mlflow.pyfunc.load_model(sys.argv[2])
lists = served.predict(pandas.DataFrame({"user_id": ["new"], "items": [["i1"]], "k": [3]}))
import models, nightloom
ours = [module for module in sys.modules if module.split(".")[0] in ("models", "training", "serving", "spark_jobs")]
print(len(lists["items"][0]), Path(models.__file__).parents[1] == Path(nightloom.__file__).parents[1], *ours)
print(models.__file__)
"""


def assert_serves_without_checkout(settings: Settings, version: str) -> None:
    """A registered version gives lists in a process without the checkout, by the code registered with it."""
    command = [sys.executable, "-c", SERVE, settings.tracking_uri, f"models:/small/{version}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        command, cwd=settings.root, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr
    *_, imported, where = process.stdout.splitlines()
    items, same_place, *modules = imported.split()
    assert (items, same_place) == ("3", "True")
    assert {module.split(".")[0] for module in modules} == {"models"}
    assert not where.startswith(str(Path(models.__file__).parents[1]))


OF_SEQUENCES = """
[[models]]
name = "blend"
params = { members = "popularity, sequence", held_out_days = 0, "sequence.factors" = 4, "sequence.epochs" = 2 }
"""


def test_a_member_of_a_blend_is_refitted_on_all_data(project: MakeProject, tmp_path: Path) -> None:
    rows = [
        event(f"u{user}", f"i{item}", 5 + item / 100) for user in range(12) for item in range(8) if (user + item) % 4
    ]
    night = night_of(project([OF_SEQUENCES], rows))
    task = fit.task_of(night, night.lake.version(INTERACTIONS))
    (spec,) = night.settings.models
    blend = models.load(folder_of(fit.fit(task, spec, tmp_path / spec.name).files))
    examples, params = fit.examples_for(task, spec), BlendParams(**spec.params)
    earlier = trainers.fit("sequence", hold_out(examples, params).earlier, params.of("sequence"))
    refit = trainers.refit(earlier, examples)
    assert isinstance(blend, Blend)
    np.testing.assert_array_equal(scores(blend.members[1], examples.histories), scores(refit, examples.histories))


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("params = { factor = 8 }", r"params\.factor: unknown hyper-parameter; .*\. Did you mean 'factors'\?"),
        ("params = { rate = 0.1 }", r"params\.rate: unknown hyper-parameter; .*\. Its name is now 'learning_rate'"),
        ("params = { factors = 0 }", r"params\.factors: .* greater than or equal to 1"),
        ("search = { heads = { low = 0, high = 2 } }", r"search\.heads: .* greater than or equal to 1"),
    ],
)
def test_a_wrong_hyper_parameter_is_an_error_with_its_line_before_anything_is_trained(
    project: MakeProject, tmp_path: Path, section: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=rf"nightloom.toml, line \d+: models\.1\.{problem}") as error:
        project(["popularity", f'[[models]]\nname = "sequence"\n{section}'], [event("ann", "x", 5)])
    line = (tmp_path / "nightloom.toml").read_text().splitlines().index(section) + 1
    assert f"line {line}: " in str(error.value)


@pytest.mark.parametrize(("name", "nearest"), [("magic", ""), ("secuence", r"\. Did you mean 'sequence'\?")])
def test_an_unknown_model_is_an_error_with_its_line_and_the_nearest_name(
    project: MakeProject, tmp_path: Path, name: str, nearest: str
) -> None:
    there = rf"no model is called '{name}'; there are als, .*popularity, segments, sequence, two_tower{nearest}$"
    with pytest.raises(SettingsError, match=rf"nightloom.toml, line \d+: models\.1\.name: {there}") as error:
        project(["popularity", name], [event("ann", "x", 5)])
    line = (tmp_path / "nightloom.toml").read_text().splitlines().index(f'name = "{name}"') + 1
    assert f"line {line}: " in str(error.value)


def test_an_unknown_version_is_an_error(project: MakeProject, tracked: Track) -> None:
    settings = tracked(project(["popularity"], [event("ann", "x", 5)]))
    with pytest.raises(registry.RegistryError, match="no version 9"):
        registry.load_version(settings, "9")


def test_ranks_that_fail_are_started_again_a_bounded_number_of_times(
    project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    night = night_of(project([SEQUENCE], [event("u", "i", 3.0)]))
    task, spec = fit.task_of(night, night.lake.version(INTERACTIONS)), night.settings.models[0]
    dying = [sys.executable, "-c", "import os; print('started', flush=True); os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(distributed, "command", lambda *_, **__: dying)
    with pytest.raises(launch.TrainingError, match=r"exit code -9 .*, after 2 restarts \(training\.restarts\)"):
        launch.fit_on_ranks(night, task, spec, tmp_path)
    output = capfd.readouterr().out
    assert output.count("started") == 3
    assert "restart 2 of 2 continues from the last checkpoint" in output
