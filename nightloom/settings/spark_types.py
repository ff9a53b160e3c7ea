"""Names of Spark SQL's types, as `fields` of a source declares them."""

import re

from nightloom.section import join_names, suggest_key

SIMPLE = (
    "string", "boolean", "tinyint", "byte", "smallint", "short", "int", "integer", "bigint", "long", "float", "real",
    "double", "decimal", "dec", "numeric", "date", "time", "timestamp", "timestamp_ntz", "timestamp_ltz", "binary",
    "interval", "variant", "void", "char", "character", "varchar",
)  # fmt: skip
"""Types without parts; some take numbers in parentheses."""
NESTED = ("array", "map", "struct")


def type_problem(text: str) -> str | None:
    """What is wrong with a type's name; None for a type that Spark knows."""
    outer = re.fullmatch(r"\s*(\w+)\s*(?:<(.*)>|\(\s*\d+\s*(?:,\s*-?\d+\s*)?\))?\s*", text, re.DOTALL)
    if outer is None:
        return _unknown(text)
    name, inner = outer[1].lower(), outer[2]
    if inner is None:
        return None if name in SIMPLE else _unknown(text)
    parts = _split(inner)
    if name == "struct":
        parts = [part.partition(":")[2] or part.strip().partition(" ")[2] for part in parts if inner.strip()]
    elif len(parts) != {"array": 1, "map": 2}.get(name):
        return _unknown(text)
    return next((problem for problem in map(type_problem, parts) if problem), None)


def _split(inner: str) -> list[str]:
    """What stands between the commas of one level."""
    parts, depth = [""], 0
    for sign in inner:
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(sign, 0)
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _unknown(text: str) -> str:
    return (
        f"'{text.strip()}' is no type of Spark SQL; known are {join_names(SIMPLE)}, array<TYPE>, map<TYPE, TYPE> and "
        f"struct<NAME: TYPE>{suggest_key(text.strip().lower(), (*SIMPLE, *NESTED))}"
    )
