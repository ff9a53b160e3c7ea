"""[retention]: how long old versions of tables are kept."""

from pydantic import Field

from nightloom.section import Section


class Retention(Section):
    """What the weekly maintenance keeps. Rows: docs/tables.md says for each table how long."""

    history_days: int = Field(30, ge=1)
    """Old versions of a table can be read for this long; those that a kept serving version or the champion was made
    from, and what a later stage has not taken yet, for as long as they are needed."""
