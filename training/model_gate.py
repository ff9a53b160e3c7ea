"""training.model_gate: GATE 2. Challengers, champion and popularity on the same later days -> who scores.

All rank the whole catalogue for every user who liked something new after the cut, from histories as of the cut. The
best challenger that passes every check of training/verdict.py is promoted; else the champion stays, which is no
failure. With nobody to serve the gate closes. ops.gates has the checks of the best; training/report.py writes what
became of each.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from models import registry
from models.base import Examples, Model
from models.popularity import Popularity
from models.registry import CHALLENGER, Registered
from nightloom.contracts import CHAMPIONS, INTERACTIONS, USERS
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from nightloom.night.run import run_stage
from nightloom.settings import Settings
from training import champions, report, trainers
from training.attributes import described
from training.dataset import examples, read_log
from training.fit import task_of
from training.scorecard import EvaluationSet, evaluation_set, scorecard
from training.verdict import Comparison, Verdict, decide

Candidates = Mapping[str, Registered]
"""Challengers by version, the oldest first."""


def main(night: Night) -> None:
    """Judge the models trained for this date on its holdout, and move the alias `champion` to a better one."""
    champion = registry.champion(night.settings)
    challengers = entrants(night, champion)
    ask = unjudged if night.settings.gates.model.mode == "disabled" else judged
    verdict = ask(night, challengers, champion)
    record_and_enforce(night, stages.MODEL_GATE, verdict.checks)
    act(night, verdict, champion)


def entrants(night: Night, champion: Registered | None) -> Candidates:
    """What was trained for the night, but for the champion and what a person took back."""
    out = champions.demoted(champions.changes(night.lake)) | ({champion.version} if champion else set())
    found = {one.version: one for one in registry.candidates(night.settings, night.date) if one.version not in out}
    return {version: found[version] for version in sorted(found, key=int)}


def unjudged(night: Night, challengers: Candidates, champion: Registered | None) -> Verdict:
    """The newest challenger, since nothing is to be judged."""
    found = Check("judged", False, f"gates.model.mode is {night.settings.gates.model.mode}", "enabled", "warn")
    checks = [_somebody_came(challengers, champion), found]
    return Verdict(max(challengers, key=int, default=None), bool(challengers), checks)


def judged(night: Night, challengers: Candidates, champion: Registered | None) -> Verdict:
    """Compare, decide, and write down why."""
    task = task_of(night, night.pin(INTERACTIONS))
    evaluation = evaluation_set(read_log(night.lake, task.version, night.end, only_likes=False), task.cut)
    if night.lake.exists(USERS):
        evaluation = replace(evaluation, holdout=described(night.lake, night.pin(USERS), evaluation.holdout))
    users, stop = len(evaluation.holdout.user_ids), "warn" if champion else "stop"
    checks = [
        Check("later_users", users > 0, f"{users} users", "users who liked something new after the cut", stop),
        _somebody_came(challengers, champion),
    ]
    if champion is None and night.settings.gates.model.mode == "dry_run":
        checks.append(Check("somebody_serves", False, "no champion, and a dry run makes none", ONE_BY_HAND))
    if not (users and challengers):  # the newest is for whoever overrides a gate that could not judge
        return Verdict(max(challengers, key=int, default=None), False, checks)
    likes = read_log(night.lake, task.version, task.cut, only_likes=True)
    comparison = compare(
        night.settings, evaluation, task.cut, challengers, champion, examples(likes, task.cut, task.seed)
    )
    verdict = decide(comparison, night.settings.gates.model, task.seed)
    report.write(night, comparison, verdict, challengers, champion, winner(night, verdict, champion))
    return Verdict(verdict.best, verdict.promoted, [*checks, *verdict.checks], verdict.by_version, verdict.gains)


ONE_BY_HAND = "a champion: gates.model.mode = 'enabled', or `nightloom model promote VERSION`"


def _somebody_came(challengers: Candidates, champion: Registered | None) -> Check:
    found, stop = f"{len(challengers)} models", "warn" if champion else "stop"
    return Check("challengers", bool(challengers), found, "a model trained for this night", stop)


def compare(
    settings: Settings, evaluation: EvaluationSet, cut: datetime,
    challengers: Candidates, champion: Registered | None, known: Examples,
) -> Comparison:  # fmt: skip
    """Every model on the same users and targets."""
    k = settings.gates.model.k
    return Comparison(
        evaluation,
        {version: scorecard(one.model, evaluation, k) for version, one in challengers.items()},
        scorecard(champion.model, evaluation, k) if champion else None,
        scorecard(popularity(settings, known), evaluation, k),
        champion is not None and datetime.fromisoformat(champion.tags["cut"]) > cut,
    )


def popularity(settings: Settings, known: Examples) -> Model:
    """The floor: trained here, so that it is there also where nightloom.toml does not declare it."""
    params = next((dict(spec.params) for spec in settings.models if spec.name == Popularity.name), {})
    return trainers.fit(Popularity.name, known, params)


def winner(night: Night, verdict: Verdict, champion: Registered | None) -> str | None:
    """Who becomes champion: who passed; with an override and nobody to serve, the best; in a dry run, nobody."""
    forced = champion is None and _override(night) is not None
    dry = night.settings.gates.model.mode == "dry_run"
    return verdict.best if (verdict.promoted or forced) and not dry else None


def _override(night: Night) -> str | None:
    override: str | None = getattr(night.arguments, "override", None)
    return override


def act(night: Night, verdict: Verdict, champion: Registered | None) -> None:
    """Move the aliases, and leave who scores in the manifest."""
    promoted, dry = winner(night, verdict, champion), night.settings.gates.model.mode == "dry_run"
    if verdict.best is not None and not dry:
        registry.set_alias(night.settings, CHALLENGER, verdict.best)
    if promoted is not None:
        why = verdict.reason(promoted) if verdict.promoted else f"override, {_override(night)}"
        champions.promote(night.settings, promoted, by="gate 2", why=why, run_id=night.run_id)
        night.record_write(CHAMPIONS)
    serving = promoted or (champion.version if champion else None)
    night.tags["verdict"] = f"{'promoted' if promoted else 'kept'} version {serving}"
    if dry and verdict.promoted:
        night.tags["verdict"] = f"dry run: would promote version {verdict.best}, kept version {serving}"
    if serving is not None:
        night.tags["model_version"] = serving
    print(f"model gate: {night.tags['verdict']}")


if __name__ == "__main__":
    override = {
        "metavar": "WHO: WHY",
        "help": "promote the best challenger although the gate is closed; kept in ops.gates",
    }
    run_stage(stages.MODEL_GATE, main, options={"--override": override})
