"""A number about a night as a whole, its limits, and Great Expectations' verdict on it.

Such numbers come from SQL (night_measures.py, drift.py). All of a night are the columns of one row, and a suite judges
each by Great Expectations' own column maximum: the row has one value a column, so it is the maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.expectations.metadata_types import FailureSeverity

from expectations.results import ExpectationResult
from nightloom.contracts import Table


@dataclass(frozen=True)
class Measure:
    """One number about a table's night, and its limits. Without a limit, or without a number, it is only recorded.

    `name` is the same each night; `observed` says in words what was found and what it was compared with.
    """

    table: Table
    name: str
    value: float | None
    observed: str
    low: float | None = None
    high: float | None = None
    severity: str = "warn"

    @property
    def column(self) -> str:
        """Its column in the row of all measures."""
        return f"{self.table.full_name}: {self.name}"

    @property
    def has_limit(self) -> bool:
        """Whether there are a number and a limit to judge it by."""
        return self.value is not None and not (self.low is None and self.high is None)

    @property
    def expected(self) -> str:
        if not self.has_limit:
            return "no limit yet"
        low, high = (None if limit is None else _number(limit) for limit in (self.low, self.high))
        if low and high:
            return f"{low} to {high}"
        return f"at most {high}" if high else f"at least {low}"


def _number(limit: float) -> str:
    return f"{limit:,.0f}" if abs(limit) >= 100 else f"{limit:.3g}"


def measure_suite(measures: Sequence[Measure]) -> gx.ExpectationSuite:
    """The suite of the measures of a night."""
    return gx.ExpectationSuite(
        name="night",
        expectations=[
            gxe.ExpectColumnMaxToBeBetween(
                column=measure.column, min_value=measure.low, max_value=measure.high, notes=measure.observed,
                severity=FailureSeverity.WARNING if measure.severity == "warn" else FailureSeverity.CRITICAL,
            )
            for measure in measures
        ],
    )  # fmt: skip


def measure_results(
    measures: Sequence[Measure], validated: Sequence[ExpectationSuiteValidationResult]
) -> list[ExpectationResult]:
    """Great Expectations' verdicts, in the measures' own words. A measure without a limit passes."""
    verdicts = [(each.expectation_config, bool(each.success)) for result in validated for each in result.results]
    passed = {configuration.kwargs["column"]: success for configuration, success in verdicts if configuration}
    return [
        ExpectationResult(
            table=measure.table.full_name, name=measure.name, severity=measure.severity, observed=measure.observed,
            passed=passed.get(measure.column, not measure.has_limit), expected=measure.expected, value=measure.value,
        )
        for measure in measures
    ]  # fmt: skip
