"""silver.interactions: only declared signals, each with the weight and the values that nightloom.toml gives it."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column

from nightloom.settings import Settings, Signal


def expectations(settings: Settings) -> list[Expectation]:
    declared = [signal.event for signal in settings.signals]
    return [
        gxe.ExpectColumnValuesToBeInSet(column="event", value_set=declared),
        *(expectation for signal in settings.signals for expectation in _signal_expectations(signal)),
    ]


def _signal_expectations(signal: Signal) -> list[Expectation]:
    """A declared event has its weight or 0 (only seen), and a value in its range."""
    where = Column("event") == signal.event
    weights = sorted({0.0, signal.weight})
    weight = gxe.ExpectColumnValuesToBeInSet(column="weight", value_set=weights, row_condition=where)
    if signal.valid is None:
        return [weight]
    low, high = signal.valid
    return [
        weight,
        gxe.ExpectColumnValuesToBeBetween(column="value", min_value=low, max_value=high, row_condition=where),
    ]
