"""Great Expectations' results for the slices of one table's rows -> one result per expectation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from nightloom.contracts import Table

SAMPLES = 5
"""Failed rows that a result names; the page in Data Docs shows the same."""
ORIGIN_COLUMNS = ("row_id", "file")
"""Columns that say where a row came from: Great Expectations returns them with the key, and samples omit them."""
COLUMNS = ("column", "column_A", "column_B")
OMITTED = {*COLUMNS, "batch_id", "column_set"}
"""Arguments of an expectation that its name need not repeat."""


@dataclass(frozen=True)
class ExpectationResult:
    """The result of one expectation; `name` stays the same from night to night.

    `value` is the number found: for an expectation of rows, the share of `rows` that failed. `failed_rows` are some of
    them: key, wrong value, and ORIGIN_COLUMNS where the table has them. `samples` are these rows in words, such as
    `event_id e4, value 5.0`.
    """

    table: str
    name: str
    severity: str
    passed: bool
    observed: str
    expected: str
    value: float | None = None
    rows: int | None = None
    failed: int | None = None
    failed_rows: tuple[Mapping[str, Any], ...] = ()
    samples: tuple[str, ...] = ()


def result_format(table: Table) -> dict[str, Any]:
    """Great Expectations' result format: a few failed rows, by key and with their origin."""
    origins = [name for name in ORIGIN_COLUMNS if name in table.column_names and name not in table.key]
    return {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": [*origins, *table.key],
        "partial_unexpected_count": SAMPLES,
    }


def table_results(table: Table, validated: Sequence[ExpectationSuiteValidationResult]) -> Iterator[ExpectationResult]:
    """The table's results, each over all slices that its suite was run on."""
    for parts in zip(*(each.results for each in validated), strict=True):
        yield _result(table, parts)


def _result(table: Table, parts: Sequence[ExpectationValidationResult]) -> ExpectationResult:
    passed = all(part.success for part in parts)
    severity = "warn" if _configuration(parts[0]).severity == "warning" else "stop"
    expected = "" if passed else _sentence(next(part for part in parts if not part.success))
    common: dict[str, Any] = {
        "table": table.full_name,
        "name": _name(_configuration(parts[0])),
        "severity": severity,
        "passed": passed,
    }
    details = [part.result for part in parts]
    if errors := [message for part in parts for message in _errors(part)]:
        return ExpectationResult(**common, observed=f"an error: {errors[0]}", expected=expected)
    if any("unexpected_count" not in detail for detail in details):
        found = details[0].get("observed_value")
        shown = next(detail for part, detail in zip(parts, details, strict=True) if passed or not part.success)
        words = str(shown.get("details") or shown.get("observed_value"))
        return ExpectationResult(**common, observed=words, expected=expected, value=_number(found))
    failed, rows = (sum(detail[name] for detail in details) for name in ("unexpected_count", "element_count"))
    failed_rows = [row for detail in details for row in detail.get("partial_unexpected_index_list") or []][:SAMPLES]
    return ExpectationResult(
        **common, observed=f"{failed:,} of {rows:,} rows", expected=expected, value=failed / rows if rows else 0.0,
        rows=rows, failed=failed, failed_rows=tuple(failed_rows),
        samples=tuple(_sample(table, row) for row in failed_rows),
    )  # fmt: skip


def _sample(table: Table, row: Mapping[str, Any]) -> str:
    """A failed row as `event_id e4, value 5.0`: its key, then the wrong value."""
    shown = [name for name in reversed(list(row)) if name in table.key or name not in ORIGIN_COLUMNS]
    return ", ".join(f"{name} {row[name]}" for name in shown)


def _configuration(result: ExpectationValidationResult) -> ExpectationConfiguration:
    """The expectation of a result; only a result that was read from an old file may lack it."""
    assert result.expectation_config is not None
    return result.expectation_config


def _name(configuration: ExpectationConfiguration) -> str:
    """`column_values_to_be_between(value, min_value=1, max_value=5)`: the type, the columns, the other arguments."""
    columns = [configuration.kwargs[name] for name in COLUMNS if name in configuration.kwargs]
    others = {name: value for name, value in configuration.kwargs.items() if name not in OMITTED and value is not None}
    given = [f"{name}={_short(value)}" for name, value in others.items()]
    arguments = ", ".join([*columns, *given])
    name = configuration.type.removeprefix("expect_")
    return f"{name}({arguments})" if arguments else name


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):  # a condition on rows: {"column": {"name": "event"}, "operator": "==", "parameter": ..}
        return f"{value['column']['name']} {value['operator']} {value['parameter']}"
    return str(value)


def _number(found: Any) -> float | None:
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _sentence(result: ExpectationValidationResult) -> str:
    """The expectation in words, as Data Docs writes it."""
    result.render()
    blocks: Any = _configuration(result).rendered_content or result.rendered_content
    text = blocks[0].value
    words = {name: param["value"] for name, param in text.params.items()}
    return Template(text.template).safe_substitute(words).rstrip(".")


def _errors(result: ExpectationValidationResult) -> list[str]:
    """Error messages from inside Great Expectations; it keeps one directly, or one for each metric."""
    info = result.exception_info
    errors = [info] if "raised_exception" in info else list(info.values())
    return [each["exception_message"] for each in errors if each["raised_exception"]]
