"""quarantine.rows: each record comes from a declared source and has a declared reason.

Both only warn: a source or a rule may have been renamed since the record came.
"""

from great_expectations.expectations.expectation import Expectation

from expectations.conditions import declared_values
from nightloom.settings import Settings

REASONS = ("unreadable", "missing", "type", "unknown_event", "impossible_value", "clock_ahead", "too_late")
"""Reasons the platform itself gives; the others are names of rules in nightloom.toml."""


def expectations(settings: Settings) -> list[Expectation]:
    rules = [rule.name for source in settings.sources for rule in source.rules if rule.then == "quarantine"]
    return [
        declared_values("source", [source.name for source in settings.sources]),
        declared_values("reason", [*REASONS, *rules]),
    ]
