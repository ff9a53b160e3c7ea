"""The OpenAPI document -> docs/api-reference.md, by docs/generate.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from serving.web.errors import ERRORS

HEAD = """# The API, route by route

Made from `ENDPOINTS` in `serving/api.py` by `docs/generate.py`. A server has the same as OpenAPI 3.1 at
`/v1/openapi.json`, for programs that make clients. [The API](api.md) says what the answers mean.

"""
Json = dict[str, Any]


def reference_page(document: Json) -> str:
    """The page: routes, schemas, errors."""
    schemas = document["components"]["schemas"]
    parts = [HEAD]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "parameters":
                parts += _operation(path, method, operation, operations.get("parameters", []), schemas)
    parts.append("## Schemas\n\n")
    for name, schema in sorted(schemas.items()):
        parts += _schema(name, schema)
    parts.append("## Errors\n\n| status | `code` | when |\n|---|---|---|\n")
    parts += [f"| {kind.status} | `{code}` | {kind.when} |\n" for code, kind in ERRORS.items()]
    return "".join(parts)


def _operation(path: str, method: str, operation: Json, names: list[Json], schemas: Json) -> Iterator[str]:
    yield f"## {method.upper()} {path}\n\n{operation['summary']} {operation.get('description', '')}".rstrip() + "\n\n"
    scope = operation.get("x-scope")
    yield f"Scope of a key: `{scope}`.\n\n" if scope else "Needs no key.\n\n"
    if parameters := [*names, *operation.get("parameters", [])]:
        yield "| parameter | in | type | meaning |\n|---|---|---|---|\n"
        for each in parameters:
            yield f"| `{each['name']}` | {each['in']} | {_type(each['schema'])} | {each['description']} |\n"
        yield "\n"
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        yield f"Body: {_type(content['schema'])}, such as\n\n{_example(content['example'])}"
    found = next(each for status, each in operation["responses"].items() if status.startswith("2"))["content"]
    if "application/json" in found:
        content = found["application/json"]
        yield f"Answer: {_type(content['schema'])}, such as\n\n{_example(content['example'])}"
    else:
        yield "Answer: text.\n\n"


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}\n\n{schema.get('description', '')}\n\n| name | type | meaning |\n|---|---|---|\n"
    for key, each in schema.get("properties", {}).items():
        needed = "" if key in schema.get("required", ()) else ", may be missing"
        yield f"| `{key}` | {_type(each)}{needed} | {each.get('description', '')} |\n"
    yield "\n"


def _type(schema: Json) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    kind: str = schema["type"]
    most = f", at most {schema['maxItems']:,}" if "maxItems" in schema else ""
    return f"list of {_type(schema['items'])}{most}" if kind == "array" else kind


def _example(value: Any) -> str:
    return f"```json\n{json.dumps(value, ensure_ascii=False)}\n```\n\n"
