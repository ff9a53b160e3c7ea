"""Tables -> their suites, run by Great Expectations on the night's rows -> ops.expectations, Data Docs, checks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context import AbstractDataContext
from great_expectations.data_context.types.resource_identifiers import ValidationResultIdentifier

from expectations import docs
from expectations.measures import Measure
from expectations.measures import outcomes as measured
from expectations.measures import suite as of_measures
from expectations.night_rows import frames
from expectations.origin import files
from expectations.outcomes import Outcome, asked_for, outcomes
from expectations.table_suite import table_suite
from nightloom.contracts import EXPECTATIONS, Table
from nightloom.lake import now
from nightloom.night.context import Night
from nightloom.night.records import Check

Results = dict[ValidationResultIdentifier, ExpectationSuiteValidationResult]


def validate(night: Night, tables: Sequence[Table], measures: Sequence[Measure] = ()) -> list[Check]:
    """Run the tables' suites on the night's rows, and one on the measures of the night as a whole.

    Writes every outcome to ops.expectations, and Data Docs. A check a sound table, one a failed expectation, one a
    measure. A check's severity is `warn` where the expectation's severity is warning, else `stop`.
    """
    # Great Expectations tells through its log what the checks below say better.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    run = _Run(docs.context(night.settings), RunIdentifier(run_name=f"night-{night.date}", run_time=datetime.now(UTC)))
    by_table = {table: list(_table_outcomes(night, run, table)) for table in tables}
    of_night = _measured(run, measures)
    found = [outcome for each in by_table.values() for outcome in each] + of_night
    came_from = files(night, found)
    _keep(night, found, came_from)
    docs.write(run.project, night.settings, run.pages)
    checks = [check for table, each in by_table.items() for check in _checks(table, each, came_from)]
    return [*checks, *(_check(outcome, came_from) for outcome in of_night)]


class _Run:
    """Great Expectations' context for one run of the gate, and the pages that came out of it."""

    def __init__(self, project: AbstractDataContext, run: RunIdentifier) -> None:
        self.project, self.run = project, run
        self.source: Any = project.data_sources.add_or_update_pandas("lake")
        self.pages: list[ValidationResultIdentifier] = []

    def on(
        self, suite: gx.ExpectationSuite, slices: Iterable[pd.DataFrame], result_format: dict[str, Any]
    ) -> list[ExpectationSuiteValidationResult]:
        """Run a suite as a checkpoint on each slice of rows."""
        suite = self.project.suites.add_or_update(suite)
        results: Results = {}
        for number, rows in enumerate(slices, start=1):
            name = suite.name if number == 1 else f"{suite.name} part {number}"
            batch = self.source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("night")
            definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
            definition = self.project.validation_definitions.add(definition)
            checkpoint = gx.Checkpoint(name=name, validation_definitions=[definition], result_format=result_format)
            done = self.project.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": rows}, run_id=self.run)
            results |= done.run_results
        self.pages += results
        return list(results.values())


def _table_outcomes(night: Night, run: _Run, table: Table) -> Iterator[Outcome]:
    suite = table_suite(table, night.settings)
    return outcomes(table, run.on(suite.suite, frames(night, suite), asked_for(table)))


def _measured(run: _Run, measures: Sequence[Measure]) -> list[Outcome]:
    """Those with a limit are judged as one row of numbers."""
    judged = [measure for measure in measures if measure.judged]
    row = pd.DataFrame([{measure.column: measure.value for measure in judged}])
    return measured(measures, run.on(of_measures(judged), [row], {"result_format": "SUMMARY"}) if judged else [])


def _keep(night: Night, found: Sequence[Outcome], came_from: Mapping[str, str]) -> None:
    """Every outcome as a row of ops.expectations."""
    stamp = {"run_id": night.run_id, "night": night.date, "checked_at": now()}
    rows = [
        {
            "table": outcome.table, "expectation": outcome.name, "severity": outcome.severity,
            "passed": outcome.passed, "observed": outcome.observed, "observed_value": outcome.value,
            "rows": outcome.rows, "failed": outcome.failed, "samples": list(outcome.samples),
            "files": _files(outcome, came_from),
        }
        for outcome in found
    ]  # fmt: skip
    night.lake.append(EXPECTATIONS, [stamp | row for row in rows])
    night.record_write(EXPECTATIONS)


def _files(outcome: Outcome, came_from: Mapping[str, str]) -> list[str]:
    own = [row.get("file") or came_from.get(row.get("row_id", "")) for row in outcome.broke_it]
    return list(dict.fromkeys(file for file in own if file))


def _checks(table: Table, found: Sequence[Outcome], came_from: Mapping[str, str]) -> list[Check]:
    """One check that sums up a table without faults; else one for each expectation that failed."""
    if failed := [outcome for outcome in found if not outcome.passed]:
        return [_check(outcome, came_from) for outcome in failed]
    all_met = f"{len(found)} expectations met"
    return [Check(f"{table.full_name} as declared", passed=True, observed=all_met, expected=all_met)]


def _check(outcome: Outcome, came_from: Mapping[str, str]) -> Check:
    """The check, with failing rows and the files they came out of."""
    told = outcome.observed
    if outcome.samples:
        told += f", e.g. {'; '.join(outcome.samples)}"
    if origin := _files(outcome, came_from):
        told += f"; from {', '.join(origin)}"
    name = f"{outcome.table}: {outcome.name}"
    return Check(name, passed=outcome.passed, observed=told, expected=outcome.expected, severity=outcome.severity)
