"""training.due: is a retraining due, and why? Exit code 0 when it is due, 99 (Airflow: skipped) when it is not.

It is due when there is no champion, or for one of four reasons. Each compares with the last training, whether or not
its model was promoted: the schedule (`training.every_days`), new interactions (`training.new_rows_share`), drift of
the interactions (`training.max_drift`), or lists that users like less than before (`training.max_outcome_loss`). The
stage reports every reason that holds.
"""

from collections.abc import Sequence
from datetime import date

from models import registry
from models.registry import RegisteredVersion
from nightloom.contracts import INTERACTIONS
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from nightloom.settings import Training
from training.dataset import count_rows_before
from training.drift import Reason, input_drift, outcome_drift


def main(night: Night) -> None:
    """Say in one line whether retraining is due on this date, and why."""
    last = registry.newest_version(night.settings)
    if last is None or registry.champion(night.settings) is None:
        due, why = True, "there is no champion"
    else:
        due, why = summary(reasons(night, last))
    if not due:
        night.skip(f"not due: {why}")
    night.tags["due"] = why
    print(f"due: {why}")


def reasons(night: Night, last: RegisteredVersion) -> list[Reason]:
    """Every possible reason. Drift and outcomes are compared only if nights came after the last training."""
    rules, trained_on = night.settings.training, date.fromisoformat(last.tags["night"])
    rows = count_rows_before(night.lake, night.pin(INTERACTIONS), night.end)
    rows_at_training, age_days = int(last.tags["rows"]), (night.date - trained_on).days
    growth = (rows - rows_at_training) / max(rows_at_training, 1)
    schedule_and_volume = [schedule_reason(rules, age_days), volume_reason(rules, growth)]
    if age_days <= 0:
        return schedule_and_volume
    return [*schedule_and_volume, *input_drift(night, trained_on), *outcome_drift(night, trained_on)]


def schedule_reason(rules: Training, age_days: int) -> Reason:
    """Whether the last training is `training.every_days` days ago."""
    return age_days >= rules.every_days, f"schedule: trained {age_days} of {rules.every_days} days ago"


def volume_reason(rules: Training, growth: float) -> Reason:
    """Whether the interactions have grown by `training.new_rows_share` since the last training."""
    return growth >= rules.new_rows_share, f"volume: {growth:.1%} more interactions, {rules.new_rows_share:.1%} are due"


def summary(reasons: Sequence[Reason]) -> tuple[bool, str]:
    """Whether any reason holds; the text of those that hold, or of all if none does."""
    holding = [text for holds, text in reasons if holds]
    return bool(holding), "; ".join(holding or [text for _, text in reasons])


if __name__ == "__main__":
    run_stage(stages.TRAINING_DUE, main)
