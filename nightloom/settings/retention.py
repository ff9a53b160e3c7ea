"""[retention]: how long old versions of tables are kept."""

from pydantic import Field

from nightloom.section import MOST_DAYS, Section


class Retention(Section):
    """What the weekly maintenance keeps. docs/tables.md has the retention of each table's rows."""

    history_days: int = Field(30, ge=1, le=MOST_DAYS)
    """Old versions of a table can be read for this many days. A version stays longer while a retained serving version
    or the champion depends on it, or while a later stage has yet to consume it."""
