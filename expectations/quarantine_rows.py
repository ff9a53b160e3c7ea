"""quarantine.rows: each record carries a reason that somebody declared, and a detail that a person can act on."""

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import contract
from expectations.contract import Frame
from nightloom.contracts import QUARANTINE_ROWS
from nightloom.settings import Settings

REASONS = ("unreadable", "missing", "type", "unknown_event", "impossible_value", "clock_ahead", "too_late")
"""Reasons the platform itself gives; the others are names of rules in nightloom.toml."""

FRAME = Frame(QUARANTINE_ROWS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    rules = [rule.name for source in settings.sources for rule in source.rules if rule.then == "quarantine"]
    return contract.suite(
        FRAME,
        [
            gxe.ExpectColumnValuesToBeInSet(column="source", value_set=[source.name for source in settings.sources]),
            gxe.ExpectColumnValuesToBeInSet(column="reason", value_set=[*REASONS, *rules]),
        ],
    )
