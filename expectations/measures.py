"""Numbers about a night as a whole (by SQL, in past.py and drift.py) -> a suite over one row of them -> outcomes.

Each is judged by Great Expectations' own column maximum: the row has one value a column, so it is the maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.expectations.metadata_types import FailureSeverity

from expectations.outcomes import Outcome
from nightloom.contracts import Table


@dataclass(frozen=True)
class Measure:
    """One number about a table's night, and between what it should be; without a limit, or a number, it is only noted.

    `name` is the same each night; `told` says in words what was found and what it was compared with.
    """

    table: Table
    name: str
    value: float | None
    told: str
    low: float | None = None
    high: float | None = None
    severity: str = "warn"

    @property
    def column(self) -> str:
        """Its column in the row of all measures."""
        return f"{self.table.full_name}: {self.name}"

    @property
    def judged(self) -> bool:
        return self.value is not None and not (self.low is None and self.high is None)

    @property
    def expected(self) -> str:
        if not self.judged:
            return "no limit yet"
        low, high = (None if limit is None else _number(limit) for limit in (self.low, self.high))
        if low and high:
            return f"{low} to {high}"
        return f"at most {high}" if high else f"at least {low}"


def _number(limit: float) -> str:
    return f"{limit:,.0f}" if abs(limit) >= 100 else f"{limit:.3g}"


def suite(measures: Sequence[Measure]) -> gx.ExpectationSuite:
    """The suite of the measures."""
    return gx.ExpectationSuite(
        name="night",
        expectations=[
            gxe.ExpectColumnMaxToBeBetween(
                column=measure.column, min_value=measure.low, max_value=measure.high, notes=measure.told,
                severity=FailureSeverity.WARNING if measure.severity == "warn" else FailureSeverity.CRITICAL,
            )
            for measure in measures
        ],
    )  # fmt: skip


def outcomes(measures: Sequence[Measure], results: Sequence[ExpectationSuiteValidationResult]) -> list[Outcome]:
    """Verdicts by Great Expectations, in the measures' own words; what was not judged passes."""
    verdicts = [(found.expectation_config, bool(found.success)) for result in results for found in result.results]
    passed = {asked.kwargs["column"]: success for asked, success in verdicts if asked}
    return [
        Outcome(
            table=measure.table.full_name, name=measure.name, severity=measure.severity, observed=measure.told,
            passed=passed.get(measure.column, not measure.judged), expected=measure.expected, value=measure.value,
        )
        for measure in measures
    ]  # fmt: skip
