"""Days, UTC: a night works for one that is over, unless somebody asks for one that is not."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from nightloom.errors import ExitCode, NightloomError


class IncompleteDayError(NightloomError):
    """The night of a day that is not over: its lists would refuse those of the complete day as older or equal."""

    exit_code = ExitCode.WRONG


def last_complete_day(moment: datetime) -> date:
    """The day before that of a moment (UTC)."""
    return moment.date() - timedelta(days=1)


def require_complete(day: date, moment: datetime, *, incomplete: bool) -> None:
    """Raises IncompleteDayError where a day is not over at a moment (UTC) and `incomplete` does not allow that."""
    if day > (last := last_complete_day(moment)) and not incomplete:
        raise IncompleteDayError(
            f"found the date {day}, expected one up to {last}: a later day is not over (UTC), and a night of a part of "
            "it is published as if it were whole. To work on it anyway: --incomplete"
        )
