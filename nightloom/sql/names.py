"""Names of the lake's tables: which ones a statement names, the nearest to a wrong one, and a statement's own views.

sqlglot cuts a statement into words by the rules of its dialect; what stands in strings and comments is no name. Only
words are needed, so that a statement works also where sqlglot does not know its grammar.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from nightloom.contracts import Table

if TYPE_CHECKING:
    from sqlglot import Tokenizer

DUCKDB, SPARK = "duckdb", "spark"


@dataclass(frozen=True)
class Word:
    """One word or sign of a statement, where it stands, and its text without quotes."""

    start: int
    end: int
    text: str


def tables_in(statement: str, tables: Sequence[Table], dialect: str = DUCKDB) -> list[Table]:
    """The tables whose full names stand in the statement, quoted or not."""
    found = {table.full_name for _, _, table in _named(_words(statement, dialect), tables)}
    return [table for table in tables if table.full_name in found]


def with_views(statement: str, tables: Sequence[Table], values: Mapping[str, str]) -> str:
    """Spark SQL with a view's name for each table's, silver__items for silver.items, and a value for each `:name`.

    Values are put into the text, for Spark 4.2 does not find its own parameters in every corner of a statement.
    """
    words = _words(statement, SPARK)
    places = [(start, end, view(table)) for start, end, table in _named(words, tables)]
    places += _parameters(statement, words, values)
    for start, end, text in sorted(places, reverse=True):
        statement = statement[:start] + text + statement[end:]
    return statement


def view(table: Table) -> str:
    """Name of a table's view, where a name can have no dot."""
    return table.full_name.replace(".", "__")


def nearest(name: str, tables: Sequence[Table]) -> str:
    """`did you mean silver.items?`, or all names there are."""
    known = [each.full_name for each in tables]
    same = [full for full in known if full.endswith(f".{name.lower()}")]
    near = same or difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {' or '.join(near)}?" if near else f"the tables are {', '.join(known)}."


def _named(words: Sequence[Word], tables: Sequence[Table]) -> Iterator[tuple[int, int, Table]]:
    """Where each table's name begins and ends."""
    known = {table.full_name: table for table in tables}
    for number in range(len(words) - 2):
        layer, dot, name = words[number : number + 3]
        table = known.get(f"{layer.text}.{name.text}".lower())
        if table and dot.text == "." and not (number and words[number - 1].text == "."):
            yield layer.start, name.end, table


def _parameters(statement: str, words: Sequence[Word], values: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
    """Where each `:name` that has a value begins and ends, and the value; `a[1]:name` is none."""
    for colon, name in pairwise(words):
        follows = re.search(r"[\w)\]]$", statement[: colon.start])
        if colon.text == ":" and colon.end == name.start and not follows and name.text in values:
            yield colon.start, name.end, values[name.text]


def _words(statement: str, dialect: str) -> list[Word]:
    """The statement's words and signs without strings and comments."""
    from sqlglot import TokenType
    from sqlglot.errors import TokenError

    try:
        tokens = _tokenizer(dialect).tokenize(statement)
    except TokenError:  # half a statement at the prompt, or one whose quotes sqlglot reads in another way
        return [Word(*match.span(), match[0]) for match in re.finditer(r"\w+|[^\w\s]", statement)]
    words = [Word(token.start, token.end + 1, token.text) for token in tokens]
    return [
        word
        for word, token in zip(words, tokens, strict=True)
        if token.token_type == TokenType.IDENTIFIER or statement[word.start : word.end] == word.text
    ]


@cache
def _tokenizer(dialect: str) -> Tokenizer:
    """sqlglot's, but for its habit to take all that follows EXPLAIN for one text."""
    from sqlglot import Dialect

    base = Dialect.get_or_raise(dialect).tokenizer_class
    own: type[Tokenizer] = type("Words", (base,), {"COMMANDS": set()})
    return own(dialect)
