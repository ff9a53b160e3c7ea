"""[[sources.rules]]: rows of a source that are not used."""

from typing import Literal

from pydantic import Field

from nightloom.section import Section


class RowRule(Section):
    """A condition under which a row of a source is not used."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """The reason in quarantine, or what `silver.unused_rows` says of a skipped row."""
    when: str
    """Spark SQL condition over the source's fields, e.g. "InvoiceNo LIKE 'C%'"."""
    then: Literal["quarantine", "skip"]
    """`quarantine` stores the row with the reason, to replay later; `skip` leaves it in bronze, and
    `silver.unused_rows` names the rule."""
