"""[[marts]]: tables of your own, each made by one SELECT."""

import re
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nightloom.contracts import TABLES, TYPES
from nightloom.section import Section, join_names, suggest_key


class MartColumn(Section):
    """A column of a mart; `name = "type"` is short for { type = "type" }."""

    type: str
    """string, bigint, int, double, float, boolean, date, timestamp, array<TYPE> or map<TYPE,TYPE>."""
    comment: str | None = None
    """Meaning, for the data dictionary."""
    personal: bool = False
    """Whether it can identify a person; `user_id` always does."""

    @model_validator(mode="before")
    @classmethod
    def _expand_type(cls, given: Any) -> Any:
        return {"type": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _known_type(self) -> Self:
        inner = re.fullmatch(r"array<(\w+)>|map<(\w+),\s*(\w+)>|(\w+)", self.type)
        for name in (found for found in inner.groups() if found) if inner else (self.type,):
            if name not in TYPES:
                raise ValueError(f"type '{name}' is not known; known are {join_names(TYPES)}{suggest_key(name, TYPES)}")
        return self


class Mart(Section):
    """A table of your own, gold.NAME, made each night from the lake's tables by one SELECT."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """The table is gold.NAME."""
    grain: str = Field(min_length=1)
    """One row, described in a sentence."""
    key: tuple[str, ...] = Field(min_length=1)
    """Columns that identify a row: never null, never twice."""
    columns: dict[str, MartColumn] = Field(min_length=1)
    """Column = type, or { type, comment, personal }."""
    sql: str
    """Spark SQL over the lake's tables by their names. `:k` and `:stored` are slate.k and slate.stored."""
    period: Literal["night", "day", "week", "month"] | None = None
    """Without it, all rows are rebuilt when a table in `sql` has changed. `day`, `week` or `month` (a date column of
    that name in `key`; a week's Monday, a month's first day): only the periods of silver.interactions that changed are
    rebuilt, and `sql` sees only their interactions. `night` (Nightloom adds the column): each night adds its rows, and
    `:night` in `sql` is its date."""

    @model_validator(mode="after")
    def _valid_column_names(self) -> Self:
        if strange := [name for name in self.columns if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]:
            raise ValueError(f"columns has '{strange[0]}'; a name is a-z, 0-9 and _, and begins with a letter")
        return self

    @model_validator(mode="after")
    def _key_and_period(self) -> Self:
        if strange := [name for name in self.key if name not in self.columns]:
            near = suggest_key(strange[0], self.columns)
            raise ValueError(f"key has '{strange[0]}'; columns are {join_names(self.columns)}{near}")
        if self.period == "night" and "night" in self.columns:
            raise ValueError("columns has 'night'; with period = 'night' Nightloom adds it by itself, take it out")
        if self.period in ("day", "week", "month") and (
            self.period not in self.key or self.columns[self.period].type != "date"
        ):
            raise ValueError(f"period is '{self.period}': columns needs {self.period} = \"date\", and key holds it too")
        return self

    @model_validator(mode="after")
    def _name_is_free(self) -> Self:
        if any(table.full_name == f"gold.{self.name}" for table in TABLES):
            raise ValueError(f"gold.{self.name} is Nightloom's own table; take another name")
        return self
