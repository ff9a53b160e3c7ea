"""A table's contract (nightloom/contracts/) -> the expectations that follow from it.

Columns, types, NOT NULL and the key come from here for every table; a table's own file adds only what is special to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
import pyarrow as pa
from great_expectations.expectations.expectation import Expectation

from nightloom.contracts import Table
from nightloom.lake import arrow_type
from nightloom.settings import Settings

COPIES = "rows_with_this_key"
"""Column that every frame carries: how many rows of the whole table have the row's key."""


@dataclass(frozen=True)
class Frame:
    """What a suite looks at: the night's rows of a table, and what SQL (DataFusion's) makes of each row."""

    table: Table
    derived: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, str]:
        """Derived columns and the contract's checks: name -> SQL over the row."""
        return dict(self.derived) | dict(self.table.checks)


class ExpectArrowType(gxe.ExpectColumnTypeToBe):
    """A column has exactly the type that the contract declares, lists and maps included (`type_` is Spark DDL)."""

    def _validate_pandas(self, actual_column_type: Any, expected_type: str) -> dict[str, Any]:
        found = actual_column_type.pyarrow_dtype if isinstance(actual_column_type, pd.ArrowDtype) else None
        return {"success": found == arrow_type(expected_type), "result": {"observed_value": str(found)}}


def suite(frame: Frame, special: Sequence[Expectation] = ()) -> gx.ExpectationSuite:
    """The table's suite: what its contract says, then what is special to it."""
    return gx.ExpectationSuite(name=frame.table.full_name, expectations=[*_by_contract(frame), *special])


def _by_contract(frame: Frame) -> list[Expectation]:
    table = frame.table
    return [
        gxe.ExpectTableColumnsToMatchSet(
            column_set=[*table.column_names, *frame.columns, COPIES],
            exact_match=True,
        ),
        *(ExpectArrowType(column=column.name, type_=column.type) for column in table.columns),
        *(gxe.ExpectColumnValuesToNotBeNull(column=column.name) for column in table.columns if column.required),
        *(true(name) for name, _ in table.checks),
        *_unique(table),
    ]


def _unique(table: Table) -> list[Expectation]:
    """A key stands once; but bronze is what came, and a sender may write the same line twice into one file."""
    if table.layer == "bronze":
        return []
    return [gxe.ExpectColumnValuesToBeBetween(column=COPIES, min_value=1, max_value=1)]


def bronze(frame: Frame, kind: str, settings: Settings) -> gx.ExpectationSuite:
    """Suite of a bronze table: rows come from declared sources of one kind."""
    names = [source.name for source in settings.sources if source.kind == kind]
    return suite(frame, [gxe.ExpectColumnValuesToBeInSet(column="source", value_set=names)])


def true(column: str) -> Expectation:
    """A derived boolean column holds everywhere."""
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True])


LIST_COLUMNS: Mapping[str, str] = {
    "item_count": "CAST(cardinality(items) AS BIGINT)",
    "no_item_twice": "cardinality(array_distinct(items)) = cardinality(items)",
    "best_first": "scores = array_sort(scores, 'DESC')",
}
"""What SQL makes of a row with `items` and `scores`, for `ranked`."""


def ranked(settings: Settings, *, by_score: bool = True, least: int = 1) -> list[Expectation]:
    """A list with scores: no item twice, best first where it is `by_score`, from `least` to slate.stored long."""
    return [
        gxe.ExpectColumnValuesToBeBetween(column="item_count", min_value=least, max_value=settings.slate.stored),
        true("no_item_twice"),
        *([true("best_first")] if by_score else []),
    ]


def plain(type: pa.DataType) -> pa.DataType:
    """The Arrow type as the contract writes it: DataFusion hands out views and names list members its own way."""
    if pa.types.is_string_view(type) or pa.types.is_large_string(type):
        return pa.string()
    if pa.types.is_list(type):
        return pa.list_(plain(type.value_type))
    if pa.types.is_map(type):
        return pa.map_(plain(type.key_type), plain(type.item_type))
    return type
