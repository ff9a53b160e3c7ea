"""What a project without a champion lacks for its first model, in words that name what would help.

silver.interactions at a pinned version, the verdict of gate 2 -> a warning of the gate. The night goes on without a
model and publishes the popular lists.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from nightloom.contracts import INTERACTIONS
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.records import Check
from training.dataset import before_condition
from training.fit import Task, task_of

DISABLED = "gates.model.mode = 'disabled' promotes the newest model without an evaluation"


@dataclass(frozen=True)
class Likes:
    """The likes (weight > 0) up to a night."""

    before: int
    """Before the holdout."""
    within: int
    """In the holdout."""
    first: date | None
    """The day of the first one."""


def no_champion_check(night: Night, models: int, compared: bool) -> Check:
    """The gate's warning: there is no champion, and what is missing for one.

    `models` were trained for the night; `compared` says whether gate 2 could compare them.
    """
    observed = "no model is champion, so this night publishes the popular lists alone"
    return Check("champion", False, observed, what_is_missing(night, models, compared), "warn")


def what_is_missing(night: Night, models: int, compared: bool) -> str:
    """What would give a champion: days, users or a setting."""
    if night.settings.gates.model.mode == "dry_run":
        return "gates.model.mode = 'enabled', or `nightloom model promote VERSION`: a dry run makes no champion"
    likes = _count_likes(night, task_of(night, night.pin(INTERACTIONS)))
    if likes.first is None:
        return "a like: no interaction has a weight above 0; [[signals]] says which events do"
    if not likes.before:
        return _days_missing(night, likes, likes.first)
    if not models:
        return (
            f"a trained model; run `python -m {stages.TRAIN.name} --date {night.date}`, whose output says what it lacks"
        )
    if not compared:
        days = night.settings.training.holdout_days
        return f"1 user or more who liked something new in the last {days} days (training.holdout_days); {DISABLED}"
    return f"a model that is not below popularity: declare the model popularity, or --override; {DISABLED}"


def _days_missing(night: Night, likes: Likes, first: date) -> str:
    """All likes are in the holdout."""
    days = night.settings.training.holdout_days
    wait, most = (first + timedelta(days=days) - night.date).days, (night.date - first).days
    shorter = f", or training.holdout_days of at most {most}" if most else ""
    return (
        f"likes before the last {days} days, which gate 2 keeps for its comparison (training.holdout_days); likes so "
        f"far: {likes.within:,}, all of these days; nights to wait: {wait}{shorter}"
    )


def _count_likes(night: Night, task: Task) -> Likes:
    liked = f"weight > 0 AND {before_condition(night.end)}"
    columns = (
        f"count(*) FILTER (WHERE {before_condition(task.cut)}) AS before", "count(*) AS n",
        "CAST(min(occurred_at) AS DATE) AS first",
    )  # fmt: skip
    (row,) = night.lake.rows(INTERACTIONS, liked, columns, task.version).to_pylist()
    return Likes(row["before"], row["n"] - row["before"], row["first"])
