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
from expectations.measure import Measure, measure_results, measure_suite
from expectations.night_rows import frames
from expectations.results import ExpectationResult, result_format, table_results
from expectations.source_files import source_files
from expectations.table_suite import table_suite
from nightloom.contracts import EXPECTATIONS, Table
from nightloom.lake import now
from nightloom.night.context import Night
from nightloom.night.records import Check

Results = dict[ValidationResultIdentifier, ExpectationSuiteValidationResult]


def validate(night: Night, tables: Sequence[Table], measures: Sequence[Measure] = ()) -> list[Check]:
    """Run the tables' suites on the night's rows, and one on the measures of the night as a whole.

    Writes every result to ops.expectations, and Data Docs. Returns a check for each table without failures, for each
    failed expectation, and for each measure. Its severity is `warn` where the expectation's is warning, else `stop`.
    """
    # Great Expectations logs what the checks below say better.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    run = _Run(docs.context(night.settings), RunIdentifier(run_name=f"night-{night.date}", run_time=datetime.now(UTC)))
    by_table = {table: list(_table_results(night, run, table)) for table in tables}
    of_night = _measure_results(run, measures)
    results = [result for each in by_table.values() for result in each] + of_night
    files = source_files(night, results)
    _record(night, results, files)
    docs.write_pages(run.project, night.settings, run.pages)
    checks = [check for table, each in by_table.items() for check in _checks(table, each, files)]
    return [*checks, *(_check(result, files) for result in of_night)]


class _Run:
    """Great Expectations' context for one run of the gate, and the pages that it has made."""

    def __init__(self, project: AbstractDataContext, run: RunIdentifier) -> None:
        self.project, self.run = project, run
        self.source: Any = project.data_sources.add_or_update_pandas("lake")
        self.pages: list[ValidationResultIdentifier] = []

    def validate(
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
            self._forget_rows()
        self.pages += results
        return list(results.values())

    def _forget_rows(self) -> None:
        """Great Expectations keeps every frame that it has checked: a first night would not fit into memory."""
        checked = self.source.get_execution_engine().batch_manager
        checked.reset_batch_cache()
        checked.batch_data_cache.clear()


def _table_results(night: Night, run: _Run, table: Table) -> Iterator[ExpectationResult]:
    suite = table_suite(table, night.settings)
    return table_results(table, run.validate(suite.expectations, frames(night, suite), result_format(table)))


def _measure_results(run: _Run, measures: Sequence[Measure]) -> list[ExpectationResult]:
    """Measures with a limit are validated as one row of numbers."""
    limited = [measure for measure in measures if measure.has_limit]
    row = pd.DataFrame([{measure.column: measure.value for measure in limited}])
    summary = {"result_format": "SUMMARY"}
    return measure_results(measures, run.validate(measure_suite(limited), [row], summary) if limited else [])


def _record(night: Night, results: Sequence[ExpectationResult], files: Mapping[str, str]) -> None:
    """Write each result as a row of ops.expectations."""
    stamp = {"run_id": night.run_id, "night": night.date, "checked_at": now()}
    rows = [
        {
            "table": result.table, "expectation": result.name, "severity": result.severity,
            "passed": result.passed, "observed": result.observed, "observed_value": result.value,
            "rows": result.rows, "failed": result.failed, "samples": list(result.samples),
            "files": _files(result, files),
        }
        for result in results
    ]  # fmt: skip
    night.lake.append(EXPECTATIONS, [stamp | row for row in rows])
    night.record_write(EXPECTATIONS)


def _files(result: ExpectationResult, files: Mapping[str, str]) -> list[str]:
    own = [row.get("file") or files.get(row.get("row_id", "")) for row in result.failed_rows]
    return list(dict.fromkeys(file for file in own if file))


def _checks(table: Table, results: Sequence[ExpectationResult], files: Mapping[str, str]) -> list[Check]:
    """One check for a table without failures; else one for each failed expectation."""
    if failed := [result for result in results if not result.passed]:
        return [_check(result, files) for result in failed]
    all_met = f"{len(results)} expectations met"
    return [Check(f"{table.full_name} as declared", passed=True, observed=all_met, expected=all_met)]


def _check(result: ExpectationResult, files: Mapping[str, str]) -> Check:
    """The check, with failed rows and the files that they came from."""
    observed = result.observed
    if result.samples:
        observed += f", e.g. {'; '.join(result.samples)}"
    if origins := _files(result, files):
        observed += f"; from {', '.join(origins)}"
    name = f"{result.table}: {result.name}"
    return Check(name, passed=result.passed, observed=observed, expected=result.expected, severity=result.severity)
