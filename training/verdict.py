"""The promotion rule of gate 2: scorecards on the same users -> a verdict, with every check behind it.

A challenger passes if its mean is not below popularity's, if the paired interval of its gain over the champion lies
above `min_gain`, and if it shows on every segment that it loses less than `segment_loss` of the champion's mean there
(non_inferiority.py). Popularity is compared by means alone: on a project's first days the holdout has few users, and no
model would pass an interval.

The best challenger by mean that passes is promoted. The more challengers there are, the better the luckiest of them
looks, so their intervals hold jointly (Bonferroni). In a tie the champion stays.
"""

from dataclasses import dataclass, field

import numpy as np

from nightloom.night.records import Check
from nightloom.settings import ModelGate
from training.bootstrap_intervals import Interval, bootstrap_intervals
from training.non_inferiority import detectable_loss, joint_level, users_needed
from training.ranking_metrics import F64
from training.scorecard import ALL, SEGMENTS, EvaluationSet, Scorecard

MIN_SEGMENT_USERS = 10
"""A segment with fewer users is not checked."""
GAIN_LEVEL = 0.95
"""Of the two-sided interval of the gain over all users."""
ROUNDING = 1e-12
"""Of a mean of equal gains."""
FLOOR, BETTER = DECISIVE = ("not_below_popularity", "better_than_champion")


@dataclass(frozen=True)
class Comparison:
    """Scorecards of all models on one evaluation set."""

    evaluation: EvaluationSet
    challengers: dict[str, Scorecard]
    """By version, at least one."""
    champion: Scorecard | None
    popularity: Scorecard
    champion_trained_on_holdout: bool = False
    """The champion was trained on days of the holdout (an old night is run again): no fair comparison is possible."""


@dataclass(frozen=True)
class Verdict:
    """If `promoted`, `best` is promoted; otherwise `best` is the best of the refused challengers."""

    best: str | None
    promoted: bool
    checks: list[Check]
    """The checks of the best, for ops.gates."""
    by_version: dict[str, list[Check]] = field(default_factory=dict)
    gains: dict[str, dict[str, Interval]] = field(default_factory=dict)
    """Version -> segment -> paired gain over the champion, each at the level of its check."""

    def reason(self, version: str) -> str:
        """The failed checks of a challenger; if none failed, the decisive checks with what was found."""
        checks = self.by_version.get(version, [])
        failed = [f"{c.name}: found {c.observed}, expected {c.expected}" for c in checks if not c.passed]
        decisive = [f"{c.name}: {c.observed}, expected {c.expected}" for c in checks if c.name in DECISIVE]
        return "; ".join(failed or decisive) or "not judged: gates.model.mode is disabled"


def decide(comparison: Comparison, rules: ModelGate, seed: int) -> Verdict:
    """Check every challenger; the best by mean that passes is promoted, in a tie the older version."""
    means = {version: card.mean(rules.metric) for version, card in comparison.challengers.items()}
    gains = _gains(comparison, comparison.champion, rules, seed) if comparison.champion else {}
    checks = {version: _checks(comparison, version, gains.get(version, {}), rules) for version in means}
    ranked = sorted(means, key=lambda version: (-means[version], int(version)))
    passing = [version for version in ranked if all(check.passed for check in checks[version])]
    best = (passing or ranked)[0]
    return Verdict(best, bool(passing), checks[best], checks, gains)


def outcome(verdict: Verdict, version: str, promoted: str | None) -> str:
    """promoted, refused, or passed: it passed every check, but another one was better, or it was a dry run."""
    passed = all(check.passed for check in verdict.by_version[version])
    return "promoted" if version == promoted else "passed" if passed else "refused"


def _gains(comparison: Comparison, champion: Scorecard, rules: ModelGate, seed: int) -> dict[str, dict[str, Interval]]:
    """Version -> segment -> gain over the champion, paired by user."""
    cells = [(version, segment) for version in comparison.challengers for segment in SEGMENTS]
    gains_TM = np.stack([_paired_gains(comparison.challengers[v], champion, rules, s) for v, s in cells], axis=1)
    tests = len(comparison.challengers)
    one_sided = {segment: joint_level(rules.segment_level, tests) for segment in SEGMENTS}
    one_sided[ALL] = joint_level((1 + GAIN_LEVEL) / 2, tests)
    intervals = bootstrap_intervals(gains_TM, seed=seed, level=[2 * one_sided[segment] - 1 for _, segment in cells])
    gains: dict[str, dict[str, Interval]] = {version: {} for version in comparison.challengers}
    for (version, segment), interval in zip(cells, intervals, strict=True):
        gains[version][segment] = interval
    return gains


def _paired_gains(challenger: Scorecard, champion: Scorecard, rules: ModelGate, segment: str) -> F64:
    """T: nan for users who are not in the segment."""
    return challenger.per_user[rules.metric][segment] - champion.per_user[rules.metric][segment]


def _checks(comparison: Comparison, version: str, gains: dict[str, Interval], rules: ModelGate) -> list[Check]:
    # Nothing here stops the night: the champion stays, and without one the popular lists are published.
    metric = f"{rules.metric}@{rules.k}"
    mean, floor = (card.mean(rules.metric) for card in (comparison.challengers[version], comparison.popularity))
    checks = [Check(FLOOR, mean >= floor, f"{metric} {mean:.4f}", f"at least {floor:.4f}", "warn")]
    if comparison.champion is None:
        return checks
    trained_on_holdout = comparison.champion_trained_on_holdout
    trained = f"the champion was trained {'on' if trained_on_holdout else 'before'} the days of the holdout"
    return [
        *checks,
        Check("champion_is_older", not trained_on_holdout, trained, "it was trained before them", "warn"),
        Check(
            BETTER, gains[ALL].low > rules.min_gain, f"{metric} {gains[ALL]}",
            f"lower end above {rules.min_gain:+.4f}", "warn",
        ),
        *(_segment_check(comparison, version, name, gains[name], rules) for name in SEGMENTS if name != ALL),
    ]  # fmt: skip


def _segment_check(comparison: Comparison, version: str, segment: str, gain: Interval, rules: ModelGate) -> Check:
    """Whether a challenger shows that it loses less on a segment than the margin."""
    assert comparison.champion is not None  # without a champion there are no gains
    name = f"no_loss_on_{segment.replace(' ', '_')}"
    gains_T = _paired_gains(comparison.challengers[version], comparison.champion, rules, segment)
    users = int((~np.isnan(gains_T)).sum())
    if users < MIN_SEGMENT_USERS:
        return Check(name, True, f"{users} users: too few to judge", f"{MIN_SEGMENT_USERS} users or more", "warn")
    declared = rules.segment_loss * comparison.champion.mean(rules.metric, segment)
    margin = max(declared, detectable_loss(gains_T, rules.segment_level))
    expected = f"lower end at least {0.0 - margin:+.4f}"
    if margin > declared:
        needed = users_needed(gains_T, declared, rules.segment_level)
        about = "no number of users" if needed is None else f"about {needed:,}"
        expected += f", which {users:,} users can show ({0.0 - declared:+.4f} is declared: {about} can show it)"
    observed = f"{rules.metric}@{rules.k} {gain}, {users} users"
    return Check(name, gain.low >= -margin - ROUNDING, observed, expected, "warn")
