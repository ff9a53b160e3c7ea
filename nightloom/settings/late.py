"""[late]: which events come too late, and which too early."""

from pydantic import Field

from nightloom.section import MOST_DAYS, Section


class Late(Section):
    """Events that arrive after their day, or before it."""

    window_days: int = Field(7, ge=0, le=MOST_DAYS)
    """Days after its own day within which an event may still arrive: its day is then rebuilt. A later event goes to
    quarantine. The events of a source's first night are never late."""
    clock_ahead_minutes: int = Field(60, ge=0, le=MOST_DAYS * 1440)
    """An event dated more than this after its ingest goes to quarantine: its sender's clock is wrong."""
