"""Tables -> their suites run by Great Expectations on the night's rows -> checks for a gate, pages in Data Docs."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from string import Template
from typing import Any

import great_expectations as gx
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context import AbstractDataContext
from great_expectations.data_context.types.resource_identifiers import ValidationResultIdentifier
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from expectations import docs
from expectations.contract import Frame
from expectations.rows import frames
from nightloom.manifest import Check, Night
from nightloom.tables import Table

SAMPLES = 5
"""Keys of failing rows that a check names; the page in Data Docs shows the same."""

Results = dict[ValidationResultIdentifier, ExpectationSuiteValidationResult]


def validate(night: Night, tables: Sequence[Table]) -> list[Check]:
    """Run the tables' suites on the night's rows and write Data Docs; a check a sound table, one a failed expectation.

    A check's severity is `warn` where the expectation's severity is warning, else `stop`.
    """
    # Great Expectations tells through its log what the checks below say better.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    project = docs.context(night.settings)
    run = RunIdentifier(run_name=f"night-{night.date}", run_time=datetime.now(UTC))
    results = {table.full_name: _validated(night, table, project, run) for table in tables}
    docs.write(project, night.settings, [key for of_table in results.values() for key in of_table])
    return [check for table in tables for check in _checks(table, list(results[table.full_name].values()))]


def _validated(night: Night, table: Table, project: AbstractDataContext, run: RunIdentifier) -> Results:
    """One table's suite, run as a checkpoint on each slice of the night's rows."""
    module = importlib.import_module(f"expectations.{table.layer}_{table.name}")
    frame: Frame = module.FRAME
    suite = project.suites.add_or_update(module.suite(night.settings))
    results: Results = {}
    for number, rows in enumerate(frames(night, frame), start=1):
        name = table.full_name if number == 1 else f"{table.full_name} part {number}"
        asset = _source(project).add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe("night")
        definition = project.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        checkpoint = gx.Checkpoint(name=name, validation_definitions=[definition], result_format=_format(table))
        done = project.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": rows}, run_id=run)
        results |= done.run_results
    return results


def _source(project: AbstractDataContext) -> Any:
    return project.data_sources.add_or_update_pandas("lake")


def _format(table: Table) -> dict[str, Any]:
    return {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": list(table.key),
        "partial_unexpected_count": SAMPLES,
    }


def _checks(table: Table, results: Sequence[ExpectationSuiteValidationResult]) -> Iterable[Check]:
    """One check that sums up a table without faults; else one for each expectation that failed on any slice."""
    outcomes = list(zip(*(result.results for result in results), strict=True))
    failed = [[part for part in parts if not part.success] for parts in outcomes]
    for parts in filter(None, failed):
        subject, severity = f"{table.full_name}: {_subject(parts[0])}", _severity(parts[0])
        yield Check(subject, passed=False, observed=_observed(parts), expected=_sentence(parts[0]), severity=severity)
    if not any(failed):
        all_met = f"{len(outcomes)} expectations met"
        yield Check(f"{table.full_name} as declared", passed=True, observed=all_met, expected=all_met)


def _asked(result: ExpectationValidationResult) -> ExpectationConfiguration:
    """The expectation behind a result; only a result that was read from an old file may lack it."""
    assert result.expectation_config is not None
    return result.expectation_config


def _severity(result: ExpectationValidationResult) -> str:
    return "warn" if _asked(result).severity == "warning" else "stop"


def _subject(result: ExpectationValidationResult) -> str:
    """`expect_column_values_to_not_be_null(user_id)`, without brackets where the whole table is meant."""
    expectation = _asked(result)
    columns = [expectation.kwargs[name] for name in ("column", "column_A", "column_B") if name in expectation.kwargs]
    return f"{expectation.type}({', '.join(columns)})" if columns else expectation.type


def _sentence(result: ExpectationValidationResult) -> str:
    """The expectation in words, as Data Docs writes it."""
    result.render()
    blocks: Any = _asked(result).rendered_content or result.rendered_content
    text = blocks[0].value
    words = {name: param["value"] for name, param in text.params.items()}
    return Template(text.template).safe_substitute(words).rstrip(".")


def _observed(parts: Sequence[ExpectationValidationResult]) -> str:
    """How many rows broke it and a few of their keys; for an expectation on the whole frame, what was found."""
    if raised := [message for part in parts for message in _raised(part)]:
        return f"an error: {raised[0]}"
    details = [part.result for part in parts]
    if "unexpected_count" not in details[0]:
        return str(details[0].get("details") or details[0].get("observed_value"))
    broken, rows = (sum(detail[name] for detail in details) for name in ("unexpected_count", "element_count"))
    samples = [row for detail in details for row in detail.get("partial_unexpected_index_list") or []]
    return f"{broken:,} of {rows:,} rows, e.g. {'; '.join(_sample(row) for row in samples[:SAMPLES])}"


def _raised(result: ExpectationValidationResult) -> list[str]:
    """Messages of what went wrong inside Great Expectations; it keeps one directly, or one for each metric."""
    info = result.exception_info
    kept = [info] if "raised_exception" in info else list(info.values())
    return [each["exception_message"] for each in kept if each["raised_exception"]]


def _sample(row: Mapping[str, Any]) -> str:
    """A failing row as `event_id e4, value 5.0`: its key, then what is wrong with it."""
    return ", ".join(f"{name} {value}" for name, value in reversed(list(row.items())))
