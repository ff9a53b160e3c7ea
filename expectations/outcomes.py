"""Great Expectations' results for one table -> one outcome an expectation, over all slices of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from nightloom.contracts import Table

SAMPLES = 5
"""Failing rows that an outcome names; the page in Data Docs shows the same."""
ORIGINS = ("row_id", "file")
"""Columns that say where a row came from: asked of Great Expectations beside the key, and not shown as part of it."""
COLUMNS = ("column", "column_A", "column_B")
UNSAID = {*COLUMNS, "batch_id", "column_set"}
"""Arguments of an expectation that its name need not repeat."""


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation; `broke_it` are failing rows: key, what is wrong, and ORIGINS where there are any.

    `name` stays the same from night to night. `value` is the number found: of row rules the share of `rows` that
    failed.
    `samples` are the rows of `broke_it` in words: `event_id e4, value 5.0`.
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
    broke_it: tuple[Mapping[str, Any], ...] = ()
    samples: tuple[str, ...] = ()


def asked_for(table: Table) -> dict[str, Any]:
    """Result format: a few failing rows, by key and with where they came from."""
    origins = [name for name in ORIGINS if name in table.column_names and name not in table.key]
    return {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": [*origins, *table.key],
        "partial_unexpected_count": SAMPLES,
    }


def outcomes(table: Table, results: Sequence[ExpectationSuiteValidationResult]) -> Iterator[Outcome]:
    """The table's outcomes, each over all slices that its suite was run on."""
    for parts in zip(*(result.results for result in results), strict=True):
        yield _outcome(table, parts)


def _outcome(table: Table, parts: Sequence[ExpectationValidationResult]) -> Outcome:
    passed = all(part.success for part in parts)
    severity = "warn" if _asked(parts[0]).severity == "warning" else "stop"
    expected = "" if passed else _sentence(next(part for part in parts if not part.success))
    told: dict[str, Any] = {
        "table": table.full_name,
        "name": _name(_asked(parts[0])),
        "severity": severity,
        "passed": passed,
    }
    details = [part.result for part in parts]
    if raised := [message for part in parts for message in _raised(part)]:
        return Outcome(**told, observed=f"an error: {raised[0]}", expected=expected)
    if any("unexpected_count" not in detail for detail in details):
        found = details[0].get("observed_value")
        told_of = next(detail for part, detail in zip(parts, details, strict=True) if passed or not part.success)
        words = str(told_of.get("details") or told_of.get("observed_value"))
        return Outcome(**told, observed=words, expected=expected, value=_number(found))
    failed, rows = (sum(detail[name] for detail in details) for name in ("unexpected_count", "element_count"))
    broke_it = [row for detail in details for row in detail.get("partial_unexpected_index_list") or []][:SAMPLES]
    return Outcome(
        **told, observed=f"{failed:,} of {rows:,} rows", expected=expected, value=failed / rows if rows else 0.0,
        rows=rows, failed=failed, broke_it=tuple(broke_it), samples=tuple(_sample(table, row) for row in broke_it),
    )  # fmt: skip


def _sample(table: Table, row: Mapping[str, Any]) -> str:
    """A failing row as `event_id e4, value 5.0`: its key, then what is wrong with it."""
    shown = [name for name in reversed(list(row)) if name in table.key or name not in ORIGINS]
    return ", ".join(f"{name} {row[name]}" for name in shown)


def _asked(result: ExpectationValidationResult) -> ExpectationConfiguration:
    """The expectation behind a result; only a result that was read from an old file may lack it."""
    assert result.expectation_config is not None
    return result.expectation_config


def _name(asked: ExpectationConfiguration) -> str:
    """`column_values_to_be_between(value, min_value=1, max_value=5)`: the type, the columns, what else was given."""
    columns = [asked.kwargs[name] for name in COLUMNS if name in asked.kwargs]
    given = [
        f"{name}={_short(value)}" for name, value in asked.kwargs.items() if name not in UNSAID and value is not None
    ]
    arguments = ", ".join([*columns, *given])
    name = asked.type.removeprefix("expect_")
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
    blocks: Any = _asked(result).rendered_content or result.rendered_content
    text = blocks[0].value
    words = {name: param["value"] for name, param in text.params.items()}
    return Template(text.template).safe_substitute(words).rstrip(".")


def _raised(result: ExpectationValidationResult) -> list[str]:
    """Messages of what went wrong inside Great Expectations; it keeps one directly, or one for each metric."""
    info = result.exception_info
    kept = [info] if "raised_exception" in info else list(info.values())
    return [each["exception_message"] for each in kept if each["raised_exception"]]
