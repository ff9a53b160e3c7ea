"""A drafted [[sources]] section: its keys, why each is so, and the questions that stay open."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nightloom.literals import spark_name
from spark_jobs.draft.columns import Column

PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
RESERVED = {"timestamp", "date", "interval", "map", "array", "struct", "case", "when", "end", "not", "null", "in", "is"}
"""Names that Spark SQL reads as something else where they stand without backticks."""


@dataclass(frozen=True)
class Question:
    """What a file cannot say, or not for sure."""

    key: str
    """The key that the answer is for: the question stands above it."""
    text: str
    alternatives: tuple[str, ...] = ()
    """Lines of nightloom.toml that stand for other answers."""
    blocks: bool = False
    """Whether no night can run before it is answered."""


@dataclass(frozen=True)
class Rule:
    """Rows that are skipped."""

    name: str
    when: str
    why: str


@dataclass(frozen=True)
class SignalDraft:
    """A [[signals]] section."""

    event: str
    weight: float
    why: str
    min_value: float | None = None
    valid: tuple[float, float] | None = None


@dataclass
class SourceDraft:
    """A [[sources]] section."""

    name: str
    kind: str
    path: str
    format: str
    options: dict[str, object] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    types: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Path of a field that an expression names -> its type."""
    names: dict[str, str] = field(default_factory=dict)
    """Column without a name in the file -> the name that the draft gives it."""
    fields: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """Key -> why it is so."""
    questions: list[Question] = field(default_factory=list)

    def use(self, column: Column, type: str = "string") -> str:
        """The SQL of a column, which becomes a declared field of the type."""
        path = self.path_of(column)
        self.types[path] = type
        return sql_path(path)

    def path_of(self, column: Column) -> tuple[str, ...]:
        """The path of a column by its name in the draft."""
        return (self.names[column.name],) if column.name in self.names else column.path


def sql_path(path: Iterable[str]) -> str:
    """The SQL of a field, or of one inside of another."""
    return ".".join(part if is_plain(part) else spark_name(part) for part in path)


def is_plain(name: str) -> bool:
    """Whether a name needs no backticks."""
    return PLAIN_NAME.fullmatch(name) is not None and name.lower() not in RESERVED


def declared_types(types: Iterable[tuple[tuple[str, ...], str]]) -> dict[str, str]:
    """Paths and their types -> field of a record -> its type; an object is a struct of the paths inside of it."""
    tree: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for (first, *rest), type in types:
        tree.setdefault(first, []).append((tuple(rest), type))
    found = {}
    for name, inner in tree.items():
        own = [type for path, type in inner if not path]
        if own:
            found[name] = own[0]
            continue
        parts = [f"{_struct_name(part)}:{type}" for part, type in declared_types(inner).items()]
        found[name] = f"struct<{','.join(parts)}>"
    return found


def _struct_name(name: str) -> str:
    return name if PLAIN_NAME.fullmatch(name) else spark_name(name)


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{toml_key(name)} = {toml(each)}' for name, each in value.items())} }}"
    if isinstance(value, Iterable):
        return f"[{', '.join(map(toml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def toml_key(name: str) -> str:
    """A key as TOML writes it."""
    plain = name and name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if plain else toml(name)
