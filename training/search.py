"""A search for better hyper-parameters with Optuna, bounded in time, on days before those that gate 2 judges on.

Each trial trains on the interactions that are older than the last `holdout_days` before the training's cut, and ranks
the whole catalogue for the users who liked something new in these days, as gate 2 will do on later ones. The study is a
run in MLflow. A model that trains on many ranks is searched in one process.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from models import registry
from models.base import Examples
from nightloom.night.context import Night
from nightloom.settings import ModelSpec
from training import registration, trainers
from training.dataset import read_log
from training.features import with_user_features
from training.fit import Task, examples_for
from training.scorecard import EvaluationSet, evaluation_set, scorecard

if TYPE_CHECKING:
    from optuna import Study, Trial

Params = dict[str, float | int | str | bool]


def with_best_params(night: Night, task: Task, specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """The models to train; those with hyper-parameters to search get the best values that the time allows to find."""
    wanted = [spec for spec in specs if spec.search]
    if not (wanted and night.settings.training.search_minutes):
        return list(specs)
    held_out = validation_days(night, task)
    if held_out is None:
        print("no search: nobody liked anything new in the last days before the cut", flush=True)
        return list(specs)
    seconds = 60 * night.settings.training.search_minutes / len(wanted)
    best = {spec.name: find_best_params(night, held_out, spec, seconds) for spec in wanted}
    return [spec.model_copy(update={"params": best.get(spec.name, spec.params)}) for spec in specs]


@dataclass(frozen=True)
class Validation:
    """What trials train on, a task that ends earlier, and the days after it that compare them."""

    task: Task
    evaluation: EvaluationSet


def validation_days(night: Night, task: Task) -> Validation | None:
    """The last `holdout_days` before the training's cut; None where nobody liked anything new in them."""
    cut = task.cut - timedelta(days=night.settings.training.holdout_days)
    evaluation = evaluation_set(read_log(task.lake, task.version, task.cut, only_likes=False), cut)
    if not (evaluation.user_count and len(evaluation.holdout.user_ids)):
        return None
    if task.features.users is not None:
        evaluation = replace(evaluation, holdout=with_user_features(task.lake, task.features.users, evaluation.holdout))
    return Validation(replace(task, cut=cut), evaluation)


def find_best_params(night: Night, held_out: Validation, spec: ModelSpec, seconds: float) -> Params:
    """The model's params with the best values found; the first trial has the params as declared."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # a failed trial raises as any other error does
    rules, deadline = night.settings.training, time.monotonic() + seconds
    examples = examples_for(held_out.task, spec)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=rules.seed))
    study.optimize(
        lambda trial: run_trial(night, examples, held_out.evaluation, spec, trial, deadline),
        n_trials=rules.search_trials,
        timeout=seconds,
    )
    ended = [trial for trial in study.trials if trial.value is not None]
    found = dict(spec.params) | (study.best_trial.params if ended else {})
    print(f"{spec.name}: {len(ended)} trials, best {found}", flush=True)
    record_study(night, spec, study, found)
    return found


def run_trial(
    night: Night, examples: Examples, evaluation: EvaluationSet, spec: ModelSpec, trial: "Trial", deadline: float
) -> float:
    """Gate 2's metric of one trial. A model that reports its epochs is stopped at the first after the deadline."""
    from optuna import TrialPruned

    def report(epoch: int, figures: dict[str, float]) -> None:
        if time.monotonic() > deadline:
            raise TrialPruned

    rules = night.settings.gates.model
    params = dict(spec.params) | (suggest_params(spec, trial) if trial.number else {})
    model = trainers.fit(spec.name, examples, params, report)
    return scorecard(model, evaluation, rules.k).mean(rules.metric)


def suggest_params(spec: ModelSpec, trial: "Trial") -> Params:
    """A value for each hyper-parameter that is searched."""
    return {
        name: trial.suggest_int(name, span.low, span.high, log=span.log)
        if isinstance(span.low, int) and isinstance(span.high, int)
        else trial.suggest_float(name, span.low, span.high, log=span.log)
        for name, span in spec.search.items()
    }


def record_study(night: Night, spec: ModelSpec, study: "Study", found: Params) -> None:
    """One MLflow run: the metric trial by trial, the params taken, trials.json."""
    mlflow_client, rules = registry.client(night.settings), night.settings.gates.model
    import mlflow
    from mlflow.entities import Metric

    tags = {"search": spec.name, "night": str(night.date), "run_id": night.run_id}
    name, moment = f"{rules.metric}_at_{rules.k}", int(time.time() * 1000)
    with mlflow.start_run(
        experiment_id=registration.experiment_id(night.settings), run_name=f"search {spec.name} {night.date}", tags=tags
    ) as run:
        mlflow.log_params(found)
        values = [(one.number, one.value) for one in study.trials if one.value is not None]
        mlflow_client.log_batch(
            run.info.run_id, metrics=[Metric(name, value, moment, number) for number, value in values]
        )
        mlflow.log_dict({"trials": [_trial_row(one) for one in study.trials]}, "trials.json")


def _trial_row(trial: Any) -> dict[str, Any]:
    took = trial.duration.total_seconds() if trial.duration else None
    return {
        "number": trial.number, "state": trial.state.name, "value": trial.value, "params": trial.params,
        "seconds": took,
    }  # fmt: skip
