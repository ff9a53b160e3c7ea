"""training.model_gate: GATE 2. Challengers, champion and popularity on the same later days -> who scores.

All rank the whole catalogue for every user who liked something new after the cut, from histories as of the cut. The
best challenger is promoted when there is no champion, or when its gain over the champion, paired per user, is above
`gates.model.min_gain` with 95 % certainty; never when it is below popularity. Else the champion stays, which is no
failure. With nobody to serve the gate closes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nightloom.manifest import Check, Night, judge, run_stage
from nightloom.settings import ModelGate, Settings
from nightloom.tables import INTERACTIONS
from training import registry, report
from training.evaluate import Scorecard, paired_interval, scorecard
from training.examples import LaterDays, examples, later_days, log
from training.fit import task_of
from training.models.base import Examples, Model
from training.models.popularity import Popularity
from training.registry import CHALLENGER, CHAMPION, Registered


@dataclass(frozen=True)
class Contest:
    """Who was compared, and how they did on the same users."""

    challengers: dict[str, Scorecard]
    """By version."""
    champion: Scorecard | None
    popularity: Scorecard
    users: int
    champion_saw_it: bool = False
    """The champion was trained on days that judge here (an old night run again): it cannot be beaten fairly."""


@dataclass(frozen=True)
class Verdict:
    best: str | None
    """Version of the best challenger."""
    promoted: bool
    checks: list[Check]


def main(night: Night) -> None:
    """Judge the models trained for this date on its holdout, and move the alias `champion` to a better one."""
    task = task_of(night, night.pin(INTERACTIONS))
    everything = log(night.lake, task.version, night.end, only_likes=False)
    later = later_days(everything, task.cut)
    champion = registry.champion(night.settings)
    challengers = [
        one for one in registry.candidates(night.settings, night.date)
        if champion is None or one.version != champion.version
    ]  # fmt: skip
    likes = log(night.lake, task.version, task.cut, only_likes=True)
    floor = popularity(night.settings, examples(likes, task.cut, task.seed))
    contest = compare(night.settings, later, task.cut, challengers, champion, floor)
    verdict = decide(contest, night.settings.gates.model, night.settings.training.seed)
    entrants = {one.version: one for one in [*challengers, *([champion] if champion else [])]}
    report.write(night, contest, verdict, later, entrants, champion)
    judge(night, "model", verdict.checks)
    act(night, verdict, champion)


def popularity(settings: Settings, known: Examples) -> Popularity:
    """The floor: trained here, so that it is there also where nightloom.toml does not declare it."""
    params = next((dict(spec.params) for spec in settings.models if spec.name == Popularity.name), {})
    return Popularity.fit(known, params, lambda epoch, figures: None)


def compare(
    settings: Settings, later: LaterDays, cut: datetime,
    challengers: Sequence[Registered], champion: Registered | None, floor: Model,
) -> Contest:  # fmt: skip
    """Every model on the same users and targets."""
    k = settings.gates.model.k
    return Contest(
        {one.version: scorecard(one.model, later, k) for one in challengers},
        scorecard(champion.model, later, k) if champion else None,
        scorecard(floor, later, k),
        len(later.user_ids),
        champion is not None and datetime.fromisoformat(champion.tags["cut"]) > cut,
    )


def decide(contest: Contest, rules: ModelGate, seed: int) -> Verdict:
    """The rule of this gate; a tie keeps the champion."""
    stop = "stop" if contest.champion is None else "warn"  # with a champion in place nothing here stops the night
    users, models = contest.users, len(contest.challengers)
    checks = [
        Check("later_users", users > 0, f"{users} users", "users who liked something new after the cut", stop),
        Check("challengers", models > 0, f"{models} models", "a model trained for this night", stop),
    ]
    if not all(check.passed for check in checks):
        newest = max(contest.challengers, key=int, default=None)  # for whoever overrides a gate that could not judge
        return Verdict(newest, False, checks)
    means = {version: card.means()[rules.metric] for version, card in contest.challengers.items()}
    best = max(means, key=lambda version: (means[version], -int(version)))
    floor = contest.popularity.means()[rules.metric]
    found, wanted = f"{rules.metric}@{rules.k} {means[best]:.4f}", f"at least {floor:.4f}"
    checks.append(Check("not_below_popularity", means[best] >= floor, found, wanted, stop))
    if contest.champion is not None:
        checks.extend(_against_champion(contest, contest.champion, best, rules, seed))
    return Verdict(best, all(check.passed for check in checks), checks)


def _against_champion(contest: Contest, champion: Scorecard, best: str, rules: ModelGate, seed: int) -> list[Check]:
    gain = contest.challengers[best].per_user[rules.metric] - champion.per_user[rules.metric]
    interval = paired_interval(gain, seed=seed)
    return [
        Check("champion_is_older", not contest.champion_saw_it, _saw(contest), "it was trained before them", "warn"),
        Check(
            "better_than_champion", interval.low > rules.min_gain, f"{rules.metric}@{rules.k} {interval}",
            f"lower end above {rules.min_gain:+.4f}", "warn",
        ),
    ]  # fmt: skip


def _saw(contest: Contest) -> str:
    return f"the champion was trained {'on' if contest.champion_saw_it else 'before'} the days that judge"


def act(night: Night, verdict: Verdict, champion: Registered | None) -> None:
    """Move the aliases, and leave who scores in the manifest."""
    if verdict.best is not None:
        registry.set_alias(night.settings, CHALLENGER, verdict.best)
    # An override lets through what the checks stopped: the best there is, when nobody serves yet.
    promoted = verdict.best is not None and (verdict.promoted or champion is None)
    if promoted and verdict.best is not None:
        registry.set_alias(night.settings, CHAMPION, verdict.best)
    serving = verdict.best if promoted else champion.version if champion else None
    night.facts["verdict"] = f"promoted version {serving}" if promoted else f"kept version {serving}"
    night.facts["model_version"] = str(serving)
    print(f"model gate: {night.facts['verdict']}")


if __name__ == "__main__":
    override = {
        "metavar": "WHO: WHY",
        "help": "promote the best challenger although the gate is closed; kept in ops.gates",
    }
    run_stage("training.model_gate", main, options={"--override": override})
