"""silver.interactions: only declared signals, each with the weight and the values that nightloom.toml gives it."""

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column

from expectations import contract
from expectations.contract import Frame
from nightloom.contracts import INTERACTIONS
from nightloom.settings import Settings, Signal

FRAME = Frame(INTERACTIONS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    declared = [signal.event for signal in settings.signals]
    return contract.suite(
        FRAME,
        [
            gxe.ExpectColumnValuesToBeInSet(column="event", value_set=declared),
            *(expectation for signal in settings.signals for expectation in _of_signal(signal)),
        ],
    )


def _of_signal(signal: Signal) -> list[Expectation]:
    """What one declared event promises: its weight or 0 (only seen), and its range of values."""
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
