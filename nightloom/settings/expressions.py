"""The Spark SQL of nightloom.toml, read at load by sqlglot: expressions over fields, and SELECTs of marts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING

from nightloom.section import join_names, suggest_key

if TYPE_CHECKING:
    from sqlglot import Expr

UNITS = {
    "year", "quarter", "month", "week", "day", "dayofyear", "dayofweek", "hour", "minute", "second", "millisecond",
    "microsecond",
}  # fmt: skip
"""Words that functions such as date_add take without quotes."""
WITHOUT_PARENTHESES = {
    "user", "current_user", "session_user", "localtimestamp", "current_time", "current_catalog", "current_database",
}  # fmt: skip
"""Functions that are called without parentheses and that sqlglot takes for columns."""


def expression_problem(sql: str, fields: Collection[str], structs: Collection[str] = ()) -> str | None:
    """What is wrong with an expression over fields, and over structs of ours; None where Spark may understand it."""
    found = _parsed(sql, frozenset(fields))
    if isinstance(found, str):
        return found
    known = {name.lower() for name in (*fields, *structs)}
    for name in _columns(found):
        if name.lower() not in known | UNITS | WITHOUT_PARENTHESES:
            return f"names the field '{name}'; the fields are {join_names(fields)}{suggest_key(name, fields)}"
    return None


def constant(sql: str) -> str | None:
    """The text of an expression that is nothing but a text."""
    from sqlglot import exp

    found = _parsed(sql, frozenset())
    return str(found.this) if isinstance(found, exp.Literal) and found.is_string else None


def select_problem(sql: str, tables: Collection[str], parameters: Collection[str]) -> str | None:
    """What is wrong with a mart's SELECT; None where Spark may understand it.

    `tables` are the lake's full names, `parameters` the names that have a value, as `:k`.
    """
    from sqlglot import exp

    found = _parsed(sql, frozenset())
    if isinstance(found, str):
        return found
    if not isinstance(found, exp.Query):
        return f"is {found.key.upper()}; expected one SELECT"
    for parameter in found.find_all(exp.Placeholder):
        if parameter.name and parameter.name not in parameters:
            known = ", ".join(f":{name}" for name in sorted(parameters))
            return f"has :{parameter.name}, and only {known} have a value"
    layers = {name.partition(".")[0] for name in tables}
    for table in found.find_all(exp.Table):
        name = f"{table.db}.{table.name}".lower()
        if table.db.lower() in layers and not table.catalog and name not in tables:
            return f"names the table {name}, which is not in the lake{suggest_key(name, tables)}"
    return None


def _columns(expression: Expr) -> Iterator[str]:
    """The first part of each column's name: what follows it is a part of a struct."""
    from sqlglot import exp

    yield from (column.parts[0].name for column in expression.find_all(exp.Column) if column.parts[0].name != "*")


@cache
def _parsed(sql: str, fields: frozenset[str]) -> Expr | str:
    """The expression, or what is wrong with it."""
    from sqlglot import parse
    from sqlglot.errors import ParseError, TokenError

    try:
        quoted = _with_quoted_fields(sql, fields)
        try:
            found = parse(quoted, dialect="spark")
        except ParseError:  # sqlglot does not know Spark's operator >>>, nor X 'FF' with a blank
            found = parse(re.sub(r"\b([xX])\s+'", r"\1'", quoted.replace(">>>", ">>")), dialect="spark")
    except TokenError:
        return f"is no SQL: {_shown(sql)} has a quote or a comment without its end"
    except ParseError as error:
        at = error.errors[0]
        what = re.sub(r"<class '[\w.]*\.(\w+)'>", r"\1", str(at["description"]))
        return f"is no SQL: {_shown(sql)}: {what}, near '{str(at['highlight']).strip()}'"
    expressions = [each for each in found if each is not None]
    if len(expressions) != 1:
        return f"is no SQL: {_shown(sql)} holds {len(expressions)} expressions, expected one"
    return expressions[0]


def _with_quoted_fields(sql: str, fields: frozenset[str]) -> str:
    """The same with each declared field in backticks: Spark takes words such as VALUES for names, sqlglot does not."""
    from sqlglot import tokenize

    known = {name.lower() for name in fields}
    tokens = tokenize(sql, dialect="spark")
    for number in reversed(range(len(tokens))):
        start, end = tokens[number].start, tokens[number].end + 1
        called = number + 1 < len(tokens) and tokens[number + 1].text == "("
        if sql[start:end].isidentifier() and sql[start:end].lower() in known and not called:
            sql = f"{sql[:start]}`{sql[start:end]}`{sql[end:]}"
    return sql


def _shown(sql: str) -> str:
    return " ".join(sql.split()) or "an empty text"
