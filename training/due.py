"""training.due: is it time to train again, and why? Exit code 0 when it is, 99 (Airflow: skipped) when it is not.

Due when there is no champion, or by one of four reasons, counted since the last training, whoever won it: the schedule
(`training.every_days`), new interactions (`training.new_rows_share`), drift of the interactions (`training.max_drift`),
or lists that people like less than they did (`training.max_outcome_loss`). The run says all that hold.
"""

from collections.abc import Sequence
from datetime import date

from models import registry
from models.registry import Registered
from nightloom.contracts import INTERACTIONS
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from nightloom.settings import Training
from training.dataset import count_rows_before
from training.drift import Reason, inputs, outcomes


def main(night: Night) -> None:
    """Say in one line whether retraining is due on this date, and why."""
    last = registry.newest(night.settings)
    if last is None or registry.champion(night.settings) is None:
        due, why = True, "there is no champion"
    else:
        due, why = told(reasons(night, last))
    if not due:
        night.skip(f"not due: {why}")
    night.tags["due"] = why
    print(f"due: {why}")


def reasons(night: Night, last: Registered) -> list[Reason]:
    """Every possible reason; drift and outcomes only where nights came after the training."""
    rules, trained = night.settings.training, date.fromisoformat(last.tags["night"])
    rows, then = count_rows_before(night.lake, night.pin(INTERACTIONS), night.end), int(last.tags["rows"])
    age = (night.date - trained).days
    found = [by_schedule(rules, age), by_volume(rules, (rows - then) / max(then, 1))]
    return [*found, *inputs(night, trained), *outcomes(night, trained)] if age > 0 else found


def by_schedule(rules: Training, age_days: int) -> Reason:
    return age_days >= rules.every_days, f"schedule: trained {age_days} of {rules.every_days} days ago"


def by_volume(rules: Training, grown: float) -> Reason:
    return grown >= rules.new_rows_share, f"volume: {grown:.1%} more interactions, {rules.new_rows_share:.1%} are due"


def told(found: Sequence[Reason]) -> tuple[bool, str]:
    """Whether any reason holds, and those that do; all of them where none does."""
    hold = [said for holds, said in found if holds]
    return bool(hold), "; ".join(hold or [said for _, said in found])


if __name__ == "__main__":
    run_stage(stages.TRAINING_DUE, main)
