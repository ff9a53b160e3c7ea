"""The code -> docs/settings.md (nightloom/settings/), docs/tables.md (nightloom/contracts/), and parts of other pages.

These are the models of docs/models.md (models/), and the rules of docs/slate.md (nightloom/slate/rules/).
docs/api-reference.md is the OpenAPI document of serving/api.py as a page.

By hand: .venv/bin/python docs/generate.py
tests/test_docs.py compares the files with what comes out here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

import models  # noqa: E402
from models.definition import Definition  # noqa: E402
from nightloom.contracts import TABLES, Table  # noqa: E402
from nightloom.settings import Settings  # noqa: E402
from nightloom.settings.places import Address, LocalFolder  # noqa: E402
from nightloom.settings.serving import ListenAddress  # noqa: E402
from nightloom.slate.rule import NamedRule  # noqa: E402
from nightloom.slate.settings import KINDS  # noqa: E402
from serving.api import openapi_json  # noqa: E402
from serving.web.reference import reference_page  # noqa: E402

TYPES: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", date: "date",
    Address: "path or address", LocalFolder: "path", ListenAddress: "text", Any: "value",
}  # fmt: skip
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "pattern": "must match"}
LAYERS = {
    "bronze": "Records as they arrived, plus their source, file and time.",
    "quarantine": "Records that could not be used, with the reason. No record is lost.",
    "silver": "Typed, deduplicated, merged.",
    "gold": "Tables for models, serving and people. A table with a night has a partition for each night.",
    "ops": "Runs with their table versions, gate results, models and maintenance.",
}


def settings_page() -> str:
    """docs/settings.md: a heading and a table of keys for each section."""
    return (
        "# Settings\n\n"
        "`nightloom.toml` holds every setting of a project. It is judged whole when it is loaded: keys, values, SQL,\n"
        "models and their parameters. A mistake is an error that names its line and the nearest name. A variable\n"
        "such as `NIGHTLOOM_PLACES__HOME=/mnt/lake` overrides the file: `NIGHTLOOM_`, then the section and the key,\n"
        "joined by two underscores. `NIGHTLOOM_CONFIG` names the file.\n\n"
        "Made from `nightloom/settings/` by `docs/generate.py`.\n" + "".join(_sections(Settings, ""))
    )


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """Heading, meaning and keys of each section below a model, in the file's order, sections inside it after it."""
    for name, field in model.model_fields.items():
        section, many = _section(field.annotation)
        if section is None:
            continue
        full = f"{path}{name}{'.NAME' if get_origin(field.annotation) is dict else ''}"
        keys = [
            _row(key, each)
            for key, each in section.model_fields.items()
            if not _section(each.annotation)[0] or get_origin(each.annotation) is dict
        ]
        if keys:
            meaning = field.description or section.__doc__
            yield f"\n## {f'[[{full}]]' if many else f'[{full}]'}\n"
            yield f"\n{_flat(meaning)}\n" if meaning else ""
            yield "\n| key | type | default | meaning |\n|---|---|---|---|\n" + "".join(keys)
        yield from _sections(section, f"{full}.")


def _section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section class in `Places`, `tuple[Source, ...]` or `dict[str, MartColumn]`, and whether there may be many."""
    many = get_origin(annotation) is tuple
    inner = get_args(annotation)[0] if many or get_origin(annotation) is UnionType else annotation
    if get_origin(annotation) is dict:
        inner = get_args(annotation)[1]
    return (inner, many) if isinstance(inner, type) and issubclass(inner, BaseModel) else (None, many)


def _row(key: str, field: FieldInfo) -> str:
    default = "**required**" if field.is_required() else _value(field.default)
    return f"| `{key}` | {_type(field)} | {default} | {_flat(field.description or '').replace('|', chr(92) + '|')} |\n"


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{words} {f'`{limit}`' if name == 'pattern' else limit}"
        for rule in field.metadata
        for name, words in BOUNDS.items()
        if (limit := getattr(rule, name, None)) is not None
    ]
    return ", ".join([_words(field.annotation), *bounds])


def _words(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin in (Union, UnionType):
        names = {_words(each): None for each in inner if each is not NoneType}  # in order, each once
        return " or ".join(name for name in names if name != "whole number" or "number" not in names)
    if origin is dict and _section(inner[1])[0]:
        return f"table: name = {{ {', '.join(f'`{key}`' for key in inner[1].model_fields)} }}"
    if origin is dict:
        return f"table: name = {_words(inner[1])}"
    if origin is tuple:
        return f"list: [{', '.join(_words(each) for each in inner if each is not Ellipsis)}]"
    if annotation not in TYPES:
        raise TypeError(f"docs/generate.py has no words for a setting of type {annotation}; tuple[TYPE, ...] is a list")
    return TYPES[annotation]


def _value(default: Any) -> str:
    if default is None:
        return "-"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if default not in ({}, ()) else "empty"


def _flat(text: str) -> str:
    return " ".join(text.split())


def tables_page() -> str:
    """docs/tables.md: a heading a layer, a section a table."""
    listed = "".join(f"| [{each.full_name}](#{_anchor(each)}) | {each.grain} |\n" for each in TABLES)
    parts = [
        "# The data dictionary\n\n"
        "All tables are Delta tables in the lake, in `LAYER/NAME`. `nightloom sql` reads them by the names below, at\n"
        "any version; `nightloom tables NAME` prints one of them with its current version and rows.\n\n"
        "Made from `nightloom/contracts/` by `docs/generate.py`.\n\n"
        f"| table | one row is |\n|---|---|\n{listed}"
    ]
    for layer, meaning in LAYERS.items():
        parts.append(f"\n## {layer}\n\n{meaning}\n")
        parts += [_table(each) for each in TABLES if each.layer == layer]
    return "".join(parts)


def _anchor(table: Table) -> str:
    """The anchor that GitHub and others give a heading."""
    return table.full_name.replace(".", "")


def _table(table: Table) -> str:
    kept = f"kept {table.retention_days} days" if table.retention_days else "kept for good"
    partition = f", partitioned by {table.partition}" if table.partition else ""
    key, readers = ", ".join(f"`{name}`" for name in table.key), " and ".join(table.readers)
    facts = f"Key: {key}{partition}; {kept}; read by {readers}."
    if table.checks:
        facts += f"\nEach row: {'; '.join(f'`{condition}`' for _, condition in table.checks)}."
    head = f"\n### {table.full_name}\n\n{table.grain}\n{facts}\n\n| column | type | | meaning |\n|---|---|---|---|\n"
    return head + "".join(
        f"| `{column.name}` | {column.type} | {_flags(column.required, column.personal)} | {column.comment} |\n"
        for column in table.columns
    )


def _flags(required: bool, personal: bool) -> str:
    return ", ".join(word for word, on in (("not null", required), ("personal", personal)) if on)


def slate_page() -> str:
    """docs/slate.md as it is, with a row for each kind of rule in its table."""
    rows = "".join(
        f"| `{f'[[slate.{kind.section}]]' if issubclass(kind, NamedRule) else f'[slate.{kind.section}]'}` "
        f"| {_flat(kind.__doc__ or '')} | {kind.breakable} |\n"
        for kind in KINDS
    )
    page = (DOCS / "slate.md").read_text(encoding="utf8")
    return re.sub(r"(?<=\|---\|---\|---\|\n)(\|.*\n)*", lambda _: rows, page, count=1)


START, END = "<!-- Made from models/ by docs/generate.py: -->\n", "<!-- As far as here. -->\n"


def models_page() -> str:
    """docs/models.md: what stands there, with the models and their hyper-parameters as the models' files have them."""
    before, rest = (DOCS / "models.md").read_text(encoding="utf8").split(START)
    definitions = [models.definition(name) for name in models.names()]
    summary = "| name | what it is | lists depend on | trains on ranks |\n|---|---|---|---|\n"
    summary += "".join(_summary(each) for each in definitions)
    return f"{before}{START}\n{summary}{''.join(map(_model, definitions))}\n{END}{rest.split(END)[1]}"


def _summary(definition: Definition) -> str:
    inputs = (
        ("history", definition.uses_history),
        ("user features", definition.user_features),
        ("item features", definition.item_features),
    )
    depends = ", ".join(name for name, used in inputs if used) or "nothing"
    name, ranks = definition.model.name, "yes" if definition.distributed else ""
    return f"| [`{name}`](#{name}) | {_paragraphs(definition)[0]} | {depends} | {ranks} |\n"


def _model(definition: Definition) -> str:
    text = "\n\n".join(_paragraphs(definition))
    keys = "".join(_row(key, field) for key, field in definition.params.model_fields.items())
    return f"\n### {definition.model.name}\n\n{text}\n\n| key | type | default | meaning |\n|---|---|---|---|\n{keys}"


def _paragraphs(definition: Definition) -> list[str]:
    return [_flat(each) for each in (definition.model.__doc__ or "").split("\n\n")]


def api_page() -> str:
    """docs/api-reference.md: every route of the API."""
    return reference_page(json.loads(openapi_json()))


PAGES = {
    "api-reference.md": api_page,
    "models.md": models_page,
    "settings.md": settings_page,
    "slate.md": slate_page,
    "tables.md": tables_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf8")
        print(f"wrote {DOCS / name}")
