"""The rule of gate 2: scorecards of the same users -> who is promoted, and every check behind it.

A challenger passes when its mean is not below popularity's, the paired interval of its gain over the champion lies
above `min_gain`, and it loses on no segment more than `segment_loss` of the champion's mean. A loss counts only when
chance does not explain it: its whole interval is below 0. Popularity is compared by means alone: on a project's first
days few users judge, and an interval would leave it with nobody.

With several challengers the best by mean that passes is promoted. The more of them there are, the better the luckiest
looks: the intervals are of 95 % for all together (Bonferroni). A tie keeps the champion.
"""

from dataclasses import dataclass, field

import numpy as np

from nightloom.night.records import Check
from nightloom.settings import ModelGate
from training.bootstrap_intervals import Interval, intervals
from training.scorecard import ALL, SEGMENTS, EvaluationSet, Scorecard

MIN_SEGMENT_USERS = 10
"""Users that a segment needs to be judged by."""
FLOOR, BETTER = DECISIVE = ("not_below_popularity", "better_than_champion")


@dataclass(frozen=True)
class Comparison:
    """Who was compared, and how they did on the same users."""

    evaluation: EvaluationSet
    challengers: dict[str, Scorecard]
    """By version, one at least."""
    champion: Scorecard | None
    popularity: Scorecard
    champion_trained_on_holdout: bool = False
    """The champion was trained on days that judge here (an old night run again): it cannot be beaten fairly."""


@dataclass(frozen=True)
class Verdict:
    """`best` is promoted where `promoted`; else it is the best of those that are refused."""

    best: str | None
    promoted: bool
    checks: list[Check]
    """For ops.gates: of the best."""
    by_version: dict[str, list[Check]] = field(default_factory=dict)
    gains: dict[str, dict[str, Interval]] = field(default_factory=dict)
    """Version -> segment -> paired gain over the champion."""

    def reason(self, version: str) -> str:
        """What a challenger failed; of one that passed, what it had to reach and did; of one unjudged, just that."""
        checks = self.by_version.get(version, [])
        failed = [f"{c.name}: found {c.observed}, expected {c.expected}" for c in checks if not c.passed]
        reached = [f"{c.name}: {c.observed}, expected {c.expected}" for c in checks if c.name in DECISIVE]
        return "; ".join(failed or reached) or "not judged: gates.model.mode is disabled"


def decide(comparison: Comparison, rules: ModelGate, seed: int) -> Verdict:
    """Judge every challenger; promote the best by mean that passes, of two alike the older one."""
    means = {version: card.mean(rules.metric) for version, card in comparison.challengers.items()}
    gains = _gains(comparison, comparison.champion, rules.metric, seed) if comparison.champion else {}
    found = {version: _checks(comparison, version, gains.get(version, {}), rules) for version in means}
    ranked = sorted(means, key=lambda version: (-means[version], int(version)))
    passing = [version for version in ranked if all(check.passed for check in found[version])]
    best = (passing or ranked)[0]
    return Verdict(best, bool(passing), found[best], found, gains)


def outcome(verdict: Verdict, version: str, promoted: str | None) -> str:
    """promoted, refused, or passed: it might, but another one was better, or it was a dry run."""
    passed = all(check.passed for check in verdict.by_version[version])
    return "promoted" if version == promoted else "passed" if passed else "refused"


def _gains(comparison: Comparison, champion: Scorecard, metric: str, seed: int) -> dict[str, dict[str, Interval]]:
    """Every challenger's gain over the champion, paired per user, by segment."""
    before = champion.per_user[metric]
    cells = [(version, segment) for version in comparison.challengers for segment in SEGMENTS]
    gains_TM = np.stack([comparison.challengers[v].per_user[metric][s] - before[s] for v, s in cells], axis=1)
    level = 1 - 0.05 / len(comparison.challengers)
    found: dict[str, dict[str, Interval]] = {version: {} for version in comparison.challengers}
    for (version, segment), interval in zip(cells, intervals(gains_TM, seed=seed, level=level), strict=True):
        found[version][segment] = interval
    return found


def _checks(comparison: Comparison, version: str, gains: dict[str, Interval], rules: ModelGate) -> list[Check]:
    # With a champion in place nothing here stops the night.
    stop, metric = "warn" if comparison.champion else "stop", f"{rules.metric}@{rules.k}"
    mean, floor = (card.mean(rules.metric) for card in (comparison.challengers[version], comparison.popularity))
    checks = [Check(FLOOR, mean >= floor, f"{metric} {mean:.4f}", f"at least {floor:.4f}", stop)]
    if comparison.champion is None:
        return checks
    saw = f"the champion was trained {'on' if comparison.champion_trained_on_holdout else 'before'} the days that judge"
    return [
        *checks,
        Check("champion_is_older", not comparison.champion_trained_on_holdout, saw, "it was trained before them", stop),
        Check(
            BETTER, gains[ALL].low > rules.min_gain, f"{metric} {gains[ALL]}",
            f"lower end above {rules.min_gain:+.4f}", stop,
        ),
        *(_segment(comparison.champion, segment, gains[segment], rules) for segment in SEGMENTS if segment != ALL),
    ]  # fmt: skip


def _segment(champion: Scorecard, segment: str, gain: Interval, rules: ModelGate) -> Check:
    """Whether a challenger does no worse on a segment than is tolerated."""
    name = f"no_loss_on_{segment.replace(' ', '_')}"
    values_T = champion.per_user[rules.metric][segment]
    users, least = int((~np.isnan(values_T)).sum()), -rules.segment_loss * champion.mean(rules.metric, segment)
    if users < MIN_SEGMENT_USERS:
        return Check(name, True, f"{users} users: too few to judge", f"{MIN_SEGMENT_USERS} users or more", "warn")
    passed = gain.mean >= least or gain.high >= 0
    expected = f"at least {least + 0.0:+.4f}, or an interval that reaches 0"
    return Check(name, passed, f"{rules.metric}@{rules.k} {gain}, {users} users", expected, "warn")
