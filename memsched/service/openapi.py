"""The OpenAPI document: what FastAPI makes of the routes, with how one is let in and what every route may answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from memsched.service.bodies import DEEPEST, FREE_JSON, IN_AN_ADDRESS, NO_NUL
from memsched.service.problems import MEDIA_TYPE

_KEY = "key"
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_SAID = {
    "401": "No key, or one that is not valid (any more).",
    "403": "The key may not do this, or acts for other users.",
    "404": "There is no such thing, or it is another's.",
    "422": "The request cannot be understood; `errors` says where.",
    "429": "Too many requests of this key: `Retry-After`.",
    "503": "A server is away, or the queue is full: `Retry-After`.",
    "default": "Another problem.",
}
_HERE = {"$ref": "#/components/schemas/Json"}
_JSON: dict[str, Any] = {
    "title": "Json",
    "description": f"Any JSON, to {DEEPEST} levels.",
    "anyOf": [
        {"type": ["null", "boolean"]},
        {"type": "number", "exclusiveMinimum": -(2**63), "exclusiveMaximum": 2**63},
        {"type": "string", **NO_NUL},
        {"type": "array", "items": _HERE},
        {"type": "object", "additionalProperties": _HERE, "propertyNames": NO_NUL},
    ],
}
_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:memsched:error:InvalidRequest"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {
                        "type": "string",
                        "description": "In the body: a JSON pointer.",
                        "examples": ["#/text"],
                    },
                    "parameter": {"type": "string", "description": "Elsewhere: its name."},
                    "in": {"type": "string", "enum": ["path", "query", "header", "cookie"]},
                },
            },
        },
    },
}

_ENVELOPE: dict[str, Any] = {
    "type": "object",
    "required": ["code", "message", "data"],
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {"type": "null"}},
}
"""In what the original's routes say an error."""


def document(app: FastAPI, open_paths: frozenset[str]) -> dict[str, Any]:
    """The document of an application.

    Args:
        open_paths: what is served without a key.
    """
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's: it answers otherwise here
        schemas.pop(name, None)
    schemas |= {"Problem": _PROBLEM, "Json": _JSON}
    made["components"]["securitySchemes"] = {
        _KEY: {"type": "http", "scheme": "bearer", "description": "An API key: memsched keys create."}
    }
    for path, operations in made["paths"].items():
        if path in open_paths:
            continue
        for method, operation in operations.items():
            if method in _METHODS:
                _say_what_is_json(operation.get("parameters", ()))
                operation["security"] = [{_KEY: []}]
                operation["responses"].pop("422", None)
                for status, said in _SAID.items():
                    operation["responses"].setdefault(status, _answer(said, path))
    found: dict[str, Any] = _with_free_json(made)
    return found


def _say_what_is_json(parameters: Iterable[dict[str, Any]]) -> None:
    """OpenAPI's way: such a parameter has a content in place of a schema."""
    for each in parameters:
        if (inside := each["schema"].pop(IN_AN_ADDRESS, None)) is not None:
            del each["schema"]
            each["content"] = {"application/json": {"schema": inside}}


def _with_free_json(schema: Any) -> Any:
    """A schema with a reference in each place where any JSON may stand."""
    if isinstance(schema, list):
        return [_with_free_json(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get(FREE_JSON) is True:
        others = {name: each for name, each in schema.items() if name != FREE_JSON}
        return {**others, "$ref": "#/components/schemas/Json"}
    return {name: _with_free_json(each) for name, each in schema.items()}


def _answer(said: str, path: str) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if path.startswith("/product/"):
        content["application/json"] = {"schema": _ENVELOPE}
    return {"description": said, "content": content}
