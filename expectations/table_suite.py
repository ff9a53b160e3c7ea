"""A table's contract (nightloom/contracts/), and its file in expectations/suites/ if it has one -> its suite.

Columns, types, NOT NULL, checks and the key come from the contract, for every table.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations.expectation import Expectation

from expectations.conditions import declared_values, holds
from nightloom.contracts import Table
from nightloom.lake import arrow_type
from nightloom.settings import Settings

COPIES = "rows_with_this_key"
"""Column that is added to every row: how many rows of the whole table have the row's key."""


@dataclass(frozen=True)
class TableSuite:
    """Expectations of a table's rows. `columns` are added to each row, by name: SQL (DataFusion's) over the row."""

    table: Table
    columns: Mapping[str, str]
    expectations: gx.ExpectationSuite


class ExpectArrowType(gxe.ExpectColumnTypeToBe):
    """A column has exactly the type that the contract declares, lists and maps included (`type_` is Spark DDL)."""

    def _validate_pandas(self, actual_column_type: Any, expected_type: str) -> dict[str, Any]:
        found = actual_column_type.pyarrow_dtype if isinstance(actual_column_type, pd.ArrowDtype) else None
        return {"success": found == arrow_type(expected_type), "result": {"observed_value": str(found)}}


def table_suite(table: Table, settings: Settings) -> TableSuite:
    """What the contract says, then what the table's own file adds."""
    special = _special_module(table)
    conditions = dict(table.checks) | getattr(special, "CONDITIONS", {})
    columns = conditions | getattr(special, "COLUMNS", {})
    expectations: list[Expectation] = [*_contract_expectations(table, columns), *map(holds, conditions)]
    expectations += _source_expectations(table, settings)
    if special and hasattr(special, "expectations"):
        expectations += special.expectations(settings)
    return TableSuite(table, columns, gx.ExpectationSuite(name=table.full_name, expectations=expectations))


def _special_module(table: Table) -> ModuleType | None:
    """The table's file in expectations/suites/."""
    name = f"expectations.suites.{table.layer}_{table.name}"
    return importlib.import_module(name) if find_spec(name) else None


def _contract_expectations(table: Table, columns: Mapping[str, str]) -> Iterator[Expectation]:
    """Columns and types as declared, no null in a required column, and each key once.

    In bronze a key may stand twice: a sender may write the same line twice into one file.
    """
    yield gxe.ExpectTableColumnsToMatchSet(column_set=[*table.column_names, *columns, COPIES], exact_match=True)
    yield from (ExpectArrowType(column=column.name, type_=column.type) for column in table.columns)
    yield from (gxe.ExpectColumnValuesToNotBeNull(column=column.name) for column in table.columns if column.required)
    if table.layer != "bronze":
        yield gxe.ExpectColumnValuesToBeBetween(column=COPIES, min_value=1, max_value=1)


def _source_expectations(table: Table, settings: Settings) -> Iterator[Expectation]:
    """Bronze rows come from declared sources of the table's kind."""
    if table.layer == "bronze":
        names = [source.name for source in settings.sources if source.kind == table.name]
        yield declared_values("source", names)
