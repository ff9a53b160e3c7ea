"""[[models]]: which models are trained, and with which hyper-parameters."""

from typing import Self

from pydantic import Field, model_validator

from nightloom.section import Section


class SearchRange(Section):
    """Where to search a hyper-parameter; whole numbers where both ends are."""

    low: int | float
    """Least value."""
    high: int | float
    """Greatest value."""
    log: bool = False
    """Search by ratios and not by differences: for rates, penalties and sizes."""

    @model_validator(mode="after")
    def _low_before_high(self) -> Self:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"from {self.low} to {self.high} nothing can be searched; low < high, and 0 < low with log"
            )
        return self


class ModelSpec(Section):
    """A model to train, and its hyper-parameters."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Which model: a file of models/."""
    params: dict[str, float | int | str | bool] = Field({})
    """Hyper-parameters by name, as the model's docstring lists them."""
    search: dict[str, SearchRange] = Field({})
    """Hyper-parameters that training.search_minutes are spent on, e.g. factors = { low = 16, high = 128, log = true }.
    Those in `params` are tried first; another value is taken only where it is better on validation."""
