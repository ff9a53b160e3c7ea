"""training.due: is it time to train again, and why? Exit code 0 when it is, 99 (Airflow: skipped) when it is not.

Due when there is no champion, when the champion's training is `training.every_days` nights old, or when interactions
grew by `training.new_rows_share` since.
"""

from datetime import date

from nightloom.manifest import Night, run_stage
from nightloom.settings import Training
from nightloom.tables import INTERACTIONS
from training import registry
from training.examples import rows_before


def main(night: Night) -> None:
    """Say in one line whether retraining is due on this date, and why."""
    champion = registry.champion(night.settings)
    if champion is None:
        due, why = True, "there is no champion"
    else:
        rows = rows_before(night.lake, night.pin(INTERACTIONS), night.end)
        trained, then = date.fromisoformat(champion.tags["night"]), int(champion.tags["rows"])
        due, why = judged(night.settings.training, (night.date - trained).days, (rows - then) / max(then, 1))
    if not due:
        night.skip(f"not due: {why}")
    night.facts["due"] = why
    print(f"due: {why}")


def judged(rules: Training, age_days: int, grown: float) -> tuple[bool, str]:
    """Whether retraining is due, and why, from the champion's age and the share by which interactions grew since."""
    if age_days >= rules.every_days:
        return True, f"schedule: the champion is {age_days} days old, every_days is {rules.every_days}"
    if grown >= rules.new_rows_share:
        return True, f"volume: interactions grew by {grown:.1%}, new_rows_share is {rules.new_rows_share:.1%}"
    return False, f"the champion is {age_days} of {rules.every_days} days old, interactions grew by {grown:.1%}"


if __name__ == "__main__":
    run_stage("training.due", main)
