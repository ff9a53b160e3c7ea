"""The routes -> an OpenAPI 3.1 document: paths, parameters, answers, errors, examples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.web.endpoints import Endpoint
from serving.web.errors import ERRORS
from serving.web.schemas import ErrorAnswer

REF = "#/components/schemas/{model}"
PATH_NAMES = {
    "user": ("A user. Any text; a slash may be written as %2F.", "196"),
    "item": ("An item. Any text; a slash may be written as %2F.", "50"),
}
"""Name in a path -> meaning, example."""
Json = dict[str, Any]
KEY: Json = {
    "type": "http", "scheme": "bearer",
    "description": "A key of `nightloom keys`. While there is none, a server answers its own machine without one.",
}  # fmt: skip


def openapi(endpoints: Iterable[Endpoint], version: str) -> Json:
    """The document. `version` is that of the program."""
    endpoints = list(endpoints)
    models: set[type[BaseModel]] = {ErrorAnswer}
    for each in endpoints:
        models |= {model for model in (each.answer, each.query, each.body) if model is not None}
    by_name = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in by_name], ref_template=REF)
    definitions = {name: _one_line(each) for name, each in schemas["$defs"].items()}
    paths: Json = {}
    for each in endpoints:
        paths.setdefault(_plain(each.path), {}).update(_path(each, definitions))
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Nightloom", "version": version,
            "description": "Recommendations from the serving store. Every list is full, fast and never an error.",
        },
        "paths": paths,
        "components": {"schemas": definitions, "securitySchemes": {"key": KEY}},
    }  # fmt: skip


def _one_line(schema: Json) -> Json:
    """A schema whose descriptions have no line ends."""
    lines = {"description": " ".join(schema["description"].split())} if "description" in schema else {}
    parts = {name: _one_line(each) for name, each in schema.get("properties", {}).items()}
    return schema | lines | ({"properties": parts} if parts else {})


def _path(endpoint: Endpoint, definitions: Json) -> Json:
    names = [
        {
            "name": name, "in": "path", "required": True, "description": PATH_NAMES[name][0],
            "schema": {"type": "string", "minLength": 1, "examples": [PATH_NAMES[name][1]]},
        }
        for name in re.findall(r"\{(\w+)", endpoint.path)
    ]  # fmt: skip
    path: Json = {"parameters": names} if names else {}
    for method in endpoint.methods:
        path[method.lower()] = _operation(endpoint, method, definitions)
    return path


def _operation(endpoint: Endpoint, method: str, definitions: Json) -> Json:
    summary, _, more = endpoint.description.partition("\n")
    name = re.sub(r"\W+", "_", _plain(endpoint.path)).strip("_")
    operation: Json = {"operationId": f"{method.lower()}_{name}", "summary": summary}
    if more.strip():
        operation["description"] = " ".join(more.split())
    if endpoint.scope:
        operation["security"] = [{"key": []}, {}]
        operation["x-scope"] = endpoint.scope
    if method == "POST" and endpoint.body:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": _content(endpoint.body, definitions)},
        }
    if endpoint.query and (method == "GET" or not endpoint.get):
        operation["parameters"] = list(_parameters(endpoint.query, definitions))
    return operation | {"responses": dict(_responses(endpoint, method, definitions))}


def _parameters(model: type[BaseModel], definitions: Json) -> Iterator[Json]:
    found = definitions[model.__name__]
    for name, described in found["properties"].items():
        # What may be null in JSON is left out of a query.
        schema = described | (described["anyOf"][0] if "anyOf" in described else {})
        parameter: Json = {
            "name": name, "in": "query", "required": name in found.get("required", ()),
            "description": schema["description"],
            "schema": {key: schema[key] for key in schema if key not in ("description", "title", "default", "anyOf")},
        }  # fmt: skip
        if schema.get("type") == "array":
            parameter |= {"style": "form", "explode": name != "exclude"}
        yield parameter


def _responses(endpoint: Endpoint, method: str, definitions: Json) -> Iterator[tuple[str, Json]]:
    kind = "text/plain" if endpoint.answer is None else "application/json"
    content = {"schema": {"type": "string"}} if endpoint.answer is None else _content(endpoint.answer, definitions)
    yield str(endpoint.status), {"description": "The answer.", "headers": HEADERS, "content": {kind: content}}
    if method == "GET" and endpoint.caches:
        yield "304", {"description": "The client has the answer: its ETag is in `If-None-Match`.", "headers": HEADERS}
    codes = [
        *endpoint.errors,
        *((*WITH_KEY, "keys_unavailable") if endpoint.scope else ()),
        *(("too_slow", "body_too_large") if method == "POST" else ()),
        *EVERYWHERE,
    ]
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(ERRORS[code].status, []).append(f"`{code}`: {ERRORS[code].when}")
    for status, lines in sorted(by_status.items()):
        yield (
            str(status),
            {
                "description": "; ".join(lines) + ".",
                "headers": HEADERS,
                "content": {"application/json": {"schema": {"$ref": REF.format(model="ErrorAnswer")}}},
            },
        )


EVERYWHERE = ("uri_too_long", "headers_too_large", "internal")
WITH_KEY = ("unauthorized", "wrong_scope", "cross_site", "wrong_host", "not_found", "too_many_requests")
"""Of the paths that ask for a key, where there are keys."""
HEADERS: Json = {
    "X-Request-Id": {"description": "The request's own id, or a new one.", "schema": {"type": "string"}},
}


def _content(model: type[BaseModel], definitions: Json) -> Json:
    name = model.__name__
    return {"schema": {"$ref": REF.format(model=name)}, "example": _example(definitions[name], definitions)}


def _example(schema: Json, definitions: Json) -> Any:
    """A value that a schema allows, made of the examples of its parts."""
    if "$ref" in schema:
        return _example(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if schema.get("examples"):
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return None if {"type": "null"} in schema["anyOf"] else _example(schema["anyOf"][0], definitions)
    if schema.get("type") == "array":
        return [_example(schema["items"], definitions)]
    if schema.get("type") == "object":
        needed = {
            *schema.get("required", ()),
            *(key for key, each in schema.get("properties", {}).items() if "examples" in each),
        }
        return {key: _example(each, definitions) for key, each in schema.get("properties", {}).items() if key in needed}
    return {"boolean": False, "integer": 0, "number": 0.0, "string": ""}[schema["type"]]


def _plain(path: str) -> str:
    return re.sub(r":\w+\}", "}", path)
