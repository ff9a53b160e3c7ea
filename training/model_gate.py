"""training.model_gate: GATE 2. Challengers, champion and popularity on the same holdout -> which model scores.

All of them rank the whole catalogue for every user who liked something new after the cut, from histories as of the
cut. The best challenger that passes every check of training/verdict.py is promoted. If none passes, the champion stays,
which is no failure. The winner is trained again on all days up to the night, and this refit serves (refit.py). Without
a champion the gate warns of what is missing for one, and the night publishes the popular lists. ops.gates gets the
checks of the best challenger, training/report.py writes the outcome of each.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from models import registry
from models.base import Examples, Model
from models.popularity import Popularity
from models.registry import CHALLENGER, REFIT_OF, RegisteredVersion
from nightloom.contracts import CHAMPIONS, INTERACTIONS, USERS
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from nightloom.night.run import run_stage
from nightloom.settings import Settings
from training import champions, registration, report, trainers
from training.dataset import read_log, training_examples
from training.features import with_user_features
from training.first_model import no_champion_check
from training.fit import task_of
from training.refit import refit_winner
from training.scorecard import EvaluationSet, evaluation_set, scorecard
from training.verdict import Comparison, Verdict, decide

Candidates = Mapping[str, RegisteredVersion]
"""Challengers by version, the oldest first."""


def main(night: Night) -> None:
    """Evaluate the models trained for this date on its holdout, and move the alias `champion` to a better one."""
    champion = registry.champion(night.settings)
    challengers = eligible_candidates(night, champion)
    disabled = night.settings.gates.model.mode == "disabled"
    verdict, comparison = newest_wins(night, challengers) if disabled else evaluate(night, challengers, champion)
    promoted = version_to_promote(night, verdict, champion)
    winner = challengers[promoted] if promoted is not None else champion
    dry_run = night.settings.gates.model.mode == "dry_run"
    refit, refit_checks = refit_winner(night, None if dry_run else winner)
    if comparison is not None:
        report.write(night, comparison, verdict, challengers, champion, promoted, refit)
    checks = [*verdict.checks, *refit_checks]
    if winner is None:
        checks = [*checks, no_champion_check(night, len(challengers), bool(verdict.by_version))]
    record_and_enforce(night, stages.MODEL_GATE, checks)
    apply_verdict(night, verdict, champion)


def eligible_candidates(night: Night, champion: RegisteredVersion | None) -> Candidates:
    """The models trained for the night, without the champion and without versions that a person demoted."""
    excluded = champions.demoted_versions(champions.changes(night.lake)) | ({champion.version} if champion else set())
    trained = {model.version: model for model in registry.versions_of_night(night.settings, night.date)}
    return {version: trained[version] for version in sorted(trained, key=int) if version not in excluded}


def newest_wins(night: Night, challengers: Candidates) -> tuple[Verdict, None]:
    """The verdict of a disabled gate: the newest challenger, with a warning."""
    warning = Check("judged", False, f"gates.model.mode is {night.settings.gates.model.mode}", "enabled", "warn")
    checks = [_challengers_check(challengers), warning]
    return Verdict(max(challengers, key=int, default=None), bool(challengers), checks), None


def evaluate(
    night: Night, challengers: Candidates, champion: RegisteredVersion | None
) -> tuple[Verdict, Comparison | None]:
    """Compare the models and decide by the promotion rule; no comparison where there is nothing to compare."""
    task = task_of(night, night.pin(INTERACTIONS))
    log = read_log(night.lake, task.version, night.end, only_likes=False)
    evaluation = evaluation_set(log, task.cut)
    if night.lake.exists(USERS):
        evaluation = replace(evaluation, holdout=with_user_features(night.lake, night.pin(USERS), evaluation.holdout))
    users = len(evaluation.holdout.user_ids)
    checks = [
        Check("later_users", users > 0, f"{users} users", "users who liked something new after the cut", "warn"),
        _challengers_check(challengers),
    ]
    if not (users and challengers):  # an override can promote the newest, though nothing could be compared
        return Verdict(max(challengers, key=int, default=None), False, checks), None
    examples = training_examples(log.liked_before(task.cut), task.cut, task.seed)
    del log  # what the models need of it is in the evaluation set and the examples
    comparison = compare(night.settings, evaluation, task.cut, challengers, champion, examples)
    verdict = decide(comparison, night.settings.gates.model, task.seed)
    return replace(verdict, checks=[*checks, *verdict.checks]), comparison


def _challengers_check(challengers: Candidates) -> Check:
    return Check(
        "challengers", bool(challengers), f"{len(challengers)} models", "a model trained for this night", "warn"
    )


def compare(
    settings: Settings, evaluation: EvaluationSet, cut: datetime,
    challengers: Candidates, champion: RegisteredVersion | None, examples: Examples,
) -> Comparison:  # fmt: skip
    """Scorecards of every model on the same users and targets; `examples` are the likes before the cut."""
    k = settings.gates.model.k
    return Comparison(
        evaluation,
        {version: scorecard(one.model, evaluation, k) for version, one in challengers.items()},
        scorecard(champion.model, evaluation, k) if champion else None,
        scorecard(fit_popularity(settings, examples), evaluation, k),
        champion is not None and datetime.fromisoformat(champion.tags["cut"]) > cut,
    )


def fit_popularity(settings: Settings, examples: Examples) -> Model:
    """The floor, trained here: it is there also if nightloom.toml does not declare it."""
    params = next((dict(spec.params) for spec in settings.models if spec.name == Popularity.name), {})
    return trainers.fit(Popularity.name, examples, params)


def version_to_promote(night: Night, verdict: Verdict, champion: RegisteredVersion | None) -> str | None:
    """The promoted version; with an override and no champion, the best one; in a dry run, None."""
    overridden = champion is None and _override(night) is not None
    dry_run = night.settings.gates.model.mode == "dry_run"
    return verdict.best if (verdict.promoted or overridden) and not dry_run else None


def _override(night: Night) -> str | None:
    override: str | None = getattr(night.arguments, "override", None)
    return override


def apply_verdict(night: Night, verdict: Verdict, champion: RegisteredVersion | None) -> None:
    """Move the aliases, and write the serving version into the night's manifest."""
    promoted, dry_run = version_to_promote(night, verdict, champion), night.settings.gates.model.mode == "dry_run"
    if verdict.best is not None and not dry_run:
        registration.set_alias(night.settings, CHALLENGER, verdict.best)
    if promoted is not None:
        why = verdict.reason(promoted) if verdict.promoted else f"override, {_override(night)}"
        champions.promote(night.settings, promoted, by="gate 2", why=why, run_id=night.run_id)
        night.record_write(CHAMPIONS)
    serving = promoted or (champion.version if champion else None)
    night.tags["verdict"] = f"{'promoted' if promoted else 'kept'} version {serving}" if serving else "no champion"
    if dry_run and verdict.promoted:
        night.tags["verdict"] = (
            f"dry run: would promote version {verdict.best}, kept {f'version {serving}' if serving else 'none'}"
        )
    if (found := registry.serving_version(night.settings)) is not None:
        night.tags["model_version"] = found.version
        if judged := found.tags.get(REFIT_OF):
            night.tags["verdict"] += f", served as version {found.version}"
            night.tags[REFIT_OF] = judged
    print(f"model gate: {night.tags['verdict']}")


if __name__ == "__main__":
    override = {
        "metavar": "WHO: WHY",
        "help": "promote the best challenger although none passes, while there is no champion; kept in ops.gates",
    }
    run_stage(stages.MODEL_GATE, main, options={"--override": override})
