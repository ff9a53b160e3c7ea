"""[[signals]]: which events count, and how much."""

from pydantic import Field

from nightloom.section import Section


class Signal(Section):
    """An event that counts. An event nobody declared sends its row to quarantine."""

    event: str
    """Name of the event, as the sources give it."""
    weight: float = Field(1.0, ge=0)
    """How much one such event says that the user likes the item."""
    min_value: float | None = None
    """Below this value the event counts as seen, but with weight 0 (a rating of 2 is no recommendation)."""
    valid: tuple[float, float] | None = None
    """Lowest and highest possible value; anything else, also no value at all, is quarantined as impossible."""
