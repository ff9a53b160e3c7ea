"""No SQL is made of a value between quotes: literals.py writes every text. Dates and constants are no values."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("nightloom", "spark_jobs", "expectations", "models", "training", "serving", "dags")
OPERATOR = re.compile(r"(=|<>|[<>(,|]|\b(IN|LIKE|THEN|ELSE|SELECT))\s*'$")
"""What stands before a text in SQL and not in a sentence."""


def quoted_values(source: str) -> Iterator[str]:
    """Values of f-strings that stand between single quotes after an operator."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else part for part in node.values]
            for before, value, after in zip(parts, parts[1:], [*parts[2:], ""], strict=False):
                if isinstance(before, str) and OPERATOR.search(before) and isinstance(value, ast.FormattedValue):
                    name = ast.unparse(value.value)
                    if str(after).startswith("'") and not name.rpartition(".")[2].isupper():
                        yield name


@pytest.mark.parametrize("package", PACKAGES)
def test_no_value_stands_between_the_quotes_of_sql(package: str) -> None:
    found = {
        f"{file.relative_to(ROOT)}: {value}"
        for file in (ROOT / package).rglob("*.py")
        for value in quoted_values(file.read_text(encoding="utf8"))
    }
    assert found == set()


def test_this_test_finds_a_value_between_quotes() -> None:
    assert list(quoted_values("f\"SELECT 1 WHERE user = '{user}'\"")) == ["user"]
    assert list(quoted_values("f\"night = DATE '{night}' AND state = '{WAITING}'; found '{user}'\"")) == []
