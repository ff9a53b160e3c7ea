"""[[signals]]: which events count, and how much."""

from typing import Self

from pydantic import Field, model_validator

from nightloom.section import Section


class Signal(Section):
    """An event that counts. A row with an undeclared event goes to quarantine."""

    event: str = Field(min_length=1)
    """Name of the event in the sources' column `event`."""
    weight: float = Field(1.0, ge=0)
    """How much one such event says that the user likes the item."""
    min_value: float | None = None
    """Below this value the event counts as seen, but with weight 0 (a rating of 2 is no recommendation)."""
    valid: tuple[float, float] | None = None
    """Lowest and highest possible value; any other value, and a missing one, goes to quarantine as impossible."""

    @model_validator(mode="after")
    def _some_value_is_possible(self) -> Self:
        if self.valid is None:
            return self
        lowest, highest = self.valid
        if lowest > highest:
            raise ValueError(f"valid is [{lowest:g}, {highest:g}]; the lowest value comes first")
        if self.min_value is not None and self.min_value > highest:
            raise ValueError(f"min_value is {self.min_value:g}, above the highest valid value, {highest:g}")
        return self

    def weigh(self, value: float | None) -> float | None:
        """The weight of an event with this value; None where the value is impossible."""
        if self.valid and (value is None or not self.valid[0] <= value <= self.valid[1]):
            return None
        enough = self.min_value is None or (value is not None and value >= self.min_value)
        return self.weight if enough else 0.0
