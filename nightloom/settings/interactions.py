"""[interactions]: how many events of one user count."""

from pydantic import Field

from nightloom.section import Section

OVER_LIMIT = "max_per_user_and_day"
"""What silver.unused_rows says of an event beyond the limit: the setting's name, as of a rule."""


class Interactions(Section):
    """Which events of one user count."""

    max_per_user_and_day: int | None = Field(None, ge=1)
    """Most events of one user on one day (UTC) that count: the first ones. Those beyond it, as a bot has, are skipped:
    `silver.unused_rows` names them, and gate 1 warns of them."""
