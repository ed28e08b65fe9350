"""The OpenAPI document: what clients are made from, and what a fuzzer believes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from memsched import Settings
from memsched.service.app import create_app


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(each)


def test_it_says_in_the_words_of_json_schema_what_is_taken() -> None:
    found = create_app(Settings.load(redis_url="memory://openapi", memory=False)).openapi()
    words = {word for each in parts(found) for word in each}
    schemas = found["components"]["schemas"]
    listed = {each["name"]: each for each in found["paths"]["/v1/memories"]["get"]["parameters"]}

    assert not words & {"ge", "gt", "le", "lt", "x-free-json", "x-json-in-an-address"}
    assert listed["filter"]["content"]["application/json"]["schema"]["type"] == "object"
    assert schemas["NewKey"]["properties"]["ttl_seconds"]["maximum"] == 86_400
    assert schemas["NewMemories"]["properties"]["tags"]["items"]["maxLength"] == 64
    assert schemas["APIADDRequest"]["properties"]["memory_content"]["anyOf"][0]["pattern"]


def test_its_patterns_are_such_as_clients_in_other_languages_read() -> None:
    found = create_app(Settings.load(redis_url="memory://openapi", memory=False)).openapi()
    patterns = {pattern for each in parts(found) if isinstance(pattern := each.get("pattern"), str)}

    assert patterns
    for pattern in patterns:
        jsonschema_rs.validator_for({"type": "string", "pattern": pattern})
