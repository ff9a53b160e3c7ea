"""quarantine.rows: each record comes from a declared source and has a declared reason."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from nightloom.settings import Settings

REASONS = ("unreadable", "missing", "type", "unknown_event", "impossible_value", "clock_ahead", "too_late")
"""Reasons the platform itself gives; the others are names of rules in nightloom.toml."""


def expectations(settings: Settings) -> list[Expectation]:
    rules = [rule.name for source in settings.sources for rule in source.rules if rule.then == "quarantine"]
    return [
        gxe.ExpectColumnValuesToBeInSet(column="source", value_set=[source.name for source in settings.sources]),
        gxe.ExpectColumnValuesToBeInSet(column="reason", value_set=[*REASONS, *rules]),
    ]
