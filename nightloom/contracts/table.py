"""A contract is a Table with its Columns; here are both, and the parts that several contracts share.

Types are plain text (Spark DDL), so contracts need neither Spark, torch nor Airflow.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Layer = Literal["bronze", "silver", "gold", "quarantine", "ops"]
TYPES = ("string", "bigint", "int", "double", "float", "boolean", "date", "timestamp")
"""Types of a column; also array<TYPE> and map<TYPE,TYPE>. Spark, DuckDB, Polars and pandas all read them."""


@dataclass(frozen=True)
class Column:
    """One column; `type` is Spark DDL, `required` is NOT NULL, and a `personal` column can identify a person.

    `former_name` is its name in lakes of earlier versions of Nightloom; Lake.open() renames it there.
    """

    name: str
    type: str
    comment: str
    required: bool = False
    personal: bool = False
    former_name: str | None = None


@dataclass(frozen=True)
class Table:
    """One table's contract.

    `key` identifies a row. All rows of one value of `period` are rebuilt together: those of a `night` by a run of that
    night, those of a `day`, `week` or `month` when one of its interactions changes, in any night. Files are sorted by
    `order`, the column by whose ranges readers look for rows. `checks` are (name, SQL condition) pairs that each row
    meets: Delta constraints and expectations are made of them.
    """

    layer: Layer
    name: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    period: Literal["night", "day", "week", "month"] | None = None
    retention_days: int | None = None
    order: str | None = None
    checks: tuple[tuple[str, str], ...] = ()
    readers: tuple[str, ...] = ("engineer", "analyst")

    @property
    def full_name(self) -> str:
        """Name in SQL, e.g. `silver.interactions`."""
        return f"{self.layer}.{self.name}"

    @property
    def folder(self) -> str:
        """Path below the lake."""
        return f"{self.layer}/{self.name}"

    @property
    def partition(self) -> str | None:
        """Partition column of the files: a night, week or month has many rows, a day has few."""
        return None if self.period == "day" else self.period

    def period_of(self, day: date) -> date:
        """The day, week or month (its first day; a week's is its Monday) that a day is in."""
        first = {"week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}
        return first.get(self.period or "", day)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def required(name: str, type: str, comment: str, *, personal: bool = False) -> Column:
    return Column(name, type, comment, required=True, personal=personal)


def non_empty(*columns: str) -> tuple[tuple[str, str], ...]:
    """Checks: a text that is not null has at least one character."""
    return tuple((f"{column}_not_empty", f"{column} <> ''") for column in columns)


NIGHT = required("night", "date", "Logical date of the run that wrote the row")
