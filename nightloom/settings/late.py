"""[late]: which events come too late, and which too early."""

from pydantic import Field

from nightloom.section import Section


class Late(Section):
    """Events that come after their day, or before it."""

    window_days: int = Field(7, ge=0)
    """How many days after its day an event may still come: the days it belongs to are reopened. A later one goes to
    quarantine. A source's first night brings its past: nothing in it is late."""
    clock_ahead_minutes: int = Field(60, ge=0)
    """An event this much later than the moment it was ingested is quarantined: its sender's clock is wrong."""
