"""[[models]]: which models are trained, and with which hyper-parameters."""

from typing import Self

from pydantic import Field, model_validator

from nightloom.section import Section


class SearchRange(Section):
    """The range in which a hyper-parameter is searched: whole numbers where both ends are whole."""

    low: int | float
    """Least value."""
    high: int | float
    """Greatest value."""
    log: bool = False
    """Search on a logarithmic scale: for rates, penalties and sizes."""

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
    """Hyper-parameters by name, as listed in the model's file."""
    search: dict[str, SearchRange] = Field({})
    """Hyper-parameters to search during training.search_minutes, e.g. factors = { low = 16, high = 128, log = true }.
    The values in `params` are tried first; other values replace them only where they are better on validation."""
