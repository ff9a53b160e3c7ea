"""[[signals]]: which events count, and how much."""

from pydantic import Field

from nightloom.section import Section


class Signal(Section):
    """An event that counts. A row with an undeclared event goes to quarantine."""

    event: str
    """Name of the event in the sources' column `event`."""
    weight: float = Field(1.0, ge=0)
    """How much one such event says that the user likes the item."""
    min_value: float | None = None
    """Below this value the event counts as seen, but with weight 0 (a rating of 2 is no recommendation)."""
    valid: tuple[float, float] | None = None
    """Lowest and highest possible value; any other value, and a missing one, goes to quarantine as impossible."""
