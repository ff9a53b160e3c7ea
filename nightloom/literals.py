r"""Values and names as SQL writes them.

Engines that bind no parameters need them: DataFusion through delta-rs, and Spark over Connect.

A user id may be `o'brien` or `a\b`. sqlglot writes the same literals; importing it takes longer than a small stage's
query.
"""

from collections.abc import Iterable


def sql_text(value: str) -> str:
    """A text of DuckDB and DataFusion, in which a backslash is an ordinary character."""
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


def spark_text(value: str) -> str:
    """A text of Spark SQL, in which a backslash escapes."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def sql_name(name: str) -> str:
    """A column's name for DuckDB and DataFusion."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def spark_name(name: str) -> str:
    """A column's name, or the path of a table, for Spark SQL."""
    doubled = name.replace("`", "``")
    return f"`{doubled}`"


def one_of(column: str, values: Iterable[str]) -> str:
    """The condition that a column has one of these texts, for DuckDB and DataFusion."""
    listed = ", ".join(map(sql_text, values))
    return f"{column} IN ({listed})" if listed else "false"
