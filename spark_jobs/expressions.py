"""The SQL expressions of a source in nightloom.toml: of which fields they are made, and how Spark evaluates them.

Raises SettingsError that names the expression which Spark does not understand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame

from nightloom.errors import SettingsError
from nightloom.literals import spark_name
from nightloom.settings import Source

CONVERSION = re.compile(
    r"\s*(cast|to_timestamp|to_date|timestamp|date|boolean|int|bigint|float|double|decimal)\s*\((.*)\)\s*",
    re.IGNORECASE | re.DOTALL,
)
TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|\s+as\s+|.", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Expression:
    """One expression: its key in nightloom.toml, its column in the stage's frames, its SQL and its Spark type."""

    key: str
    column: str
    sql: str
    type: str

    @property
    def label(self) -> str:
        """Its name in a detail: `column value`, `attribute year`, `rule cancelled`."""
        section, name = self.key.split(".", 1)
        return f"{section.removesuffix('s')} {name}"

    @property
    def value(self) -> str:
        """SQL of its value as it comes."""
        return f"(\n{self.sql}\n)"

    @property
    def cast(self) -> str:
        """SQL of its value; null where the value does not fit the type."""
        return f"CAST({self.value} AS {self.type})"

    @property
    def operand(self) -> str | None:
        """SQL of what a cast or conversion takes that is the whole expression: `a` of `CAST(a AS INT)`."""
        call = CONVERSION.fullmatch(self.sql)
        if not call:
            return None
        parts = _top_level_parts(call[2], " as " if call[1].lower() == "cast" else ",")
        return f"(\n{parts[0]}\n)" if parts else None

    @property
    def failed(self) -> str:
        """SQL of a condition: Spark raises an error when it computes the value.

        `try_to_binary` catches the errors of its whole argument, so nothing ends the job; it gives null then, and
        never otherwise, as a text always has bytes.
        """
        return f"try_to_binary(coalesce(CAST({self.cast} AS STRING), ''), 'utf-8') IS NULL"

    @property
    def guarded(self) -> str:
        """SQL of its value that is null where computing it fails."""
        return f"CAST(CAST(try_to_binary(CAST({self.cast} AS STRING), 'utf-8') AS STRING) AS {self.type})"

    @property
    def uncast(self) -> str:
        """The column of its value before the cast."""
        return f"_uncast_{self.column}"

    @property
    def failure(self) -> str:
        """The column that says whether computing it fails."""
        return f"_failed_{self.column}"

    def fields(self, source: Source) -> list[str]:
        """The declared fields that its SQL names."""
        return [name for name in source.fields if _names(self.sql, name)]


def column_expressions(source: Source, types: Mapping[str, str]) -> list[Expression]:
    """Those of `columns` and `attributes`; `types` is our column -> Spark type."""
    columns = [
        Expression(f"columns.{name}", name, source.columns[name], type)
        for name, type in types.items()
        if name in source.columns
    ]
    attributes = [
        Expression(f"attributes.{name}", attribute_column(name), sql, "string")
        for name, sql in source.attributes.items()
    ]
    return columns + attributes


def rule_expressions(source: Source) -> list[Expression]:
    """Those of `rules`, in their order."""
    return [Expression(f"rules.{rule.name}", f"_rule_{rule.name}", rule.when, "boolean") for rule in source.rules]


def attribute_column(name: str) -> str:
    """The column of an attribute's value."""
    return f"_attribute_{name}"


def check_sql(rows: DataFrame, source: Source, sql: Mapping[str, str]) -> None:
    """Raises SettingsError with the key of the first SQL over these rows that Spark does not understand."""
    try:
        rows.selectExpr(*sql.values()).columns  # noqa: B018  # Spark Connect reports a mistake when the schema is read
    except AnalysisException:
        for key, each in sql.items():
            _check(rows, source, key, each)
        raise


def alias(name: str, sql: str) -> str:
    """SQL of a column under a name."""
    return f"{sql} AS {spark_name(name)}"


def _top_level_parts(sql: str, separator: str) -> list[str]:
    """SQL between separators outside of brackets and quotes; nothing where its brackets do not match."""
    parts, depth = [""], 0
    for token in TOKEN.findall(sql):
        depth += (token in "([") - (token in ")]")
        if depth < 0:
            return []
        if depth == 0 and token.strip().lower() == separator.strip():
            parts.append("")
        else:
            parts[-1] += token
    return parts


def _names(sql: str, field: str) -> bool:
    """Whether the SQL has the field's name as a word; in a text it counts, too."""
    return re.search(rf"(?<!\w){re.escape(field)}(?!\w)", sql, re.IGNORECASE) is not None


def _check(rows: DataFrame, source: Source, key: str, sql: str) -> None:
    try:
        rows.selectExpr(sql).columns  # noqa: B018
    except AnalysisException as error:
        why = (error.getMessage() or str(error)).strip().split("\n")[0]
        raise SettingsError(
            f"source '{source.name}', {key}: Spark cannot make {' '.join(sql.split())}: {why} "
            f"The fields are {', '.join(source.fields)}"
        ) from None
