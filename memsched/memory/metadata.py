"""Metadata: what whoever adds a memory gives with it. A search asks for it by filters (filter_language.py).

In the store each value is a keyword of its own, so that any name and any type can be asked for; ranges look at the
number itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from memsched.errors import InvalidMessage
from memsched.json_values import as_json_value

MetadataValue = str | int | float | bool | list[str | int | float | bool]

MOST_NAMES, MOST_VALUES = 64, 64
LONGEST_NAME, LONGEST_TEXT = 64, 1_000
_LARGEST = 2**63 - 1
_VALUE: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "maxLength": LONGEST_TEXT, "pattern": "^[^\\u0000]*$"},
        {"type": "number", "exclusiveMinimum": -(2**63), "exclusiveMaximum": 2**63},
        {"type": "boolean"},
    ]
}
METADATA_SCHEMA: dict[str, Any] = {
    "type": "object",
    "maxProperties": MOST_NAMES,
    "propertyNames": {"minLength": 1, "maxLength": LONGEST_NAME, "pattern": "^[^\\u0000]*$"},
    "additionalProperties": {"anyOf": [_VALUE, {"type": "array", "maxItems": MOST_VALUES, "items": _VALUE}]},
}
"""What ``checked_metadata`` takes, as a JSON schema."""


def checked_metadata(given: Any) -> dict[str, MetadataValue]:
    """Metadata as it is kept. Raises ValueError, naming what is wrong.

    Names are texts; a value is a text, a number, true or false, or a list of these.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"metadata must be a mapping, not {type(given).__name__}")
    if len(given) > MOST_NAMES:
        raise ValueError(f"metadata has at most {MOST_NAMES} names, not {len(given)}")
    found: dict[str, MetadataValue] = {}
    for name, value in given.items():
        where = named(name, "metadata")
        if isinstance(value, list | tuple | set):
            if len(value) > MOST_VALUES:
                raise ValueError(f"{where} has at most {MOST_VALUES} values")
            found[name] = [single_value(each, where) for each in value]
        else:
            found[name] = single_value(value, where)
    return found


def metadata_given(given: Any) -> dict[str, MetadataValue]:
    """Metadata as a program gives it, with numbers of numpy and the like. Raises InvalidMessage."""
    plain = {name: as_json_value(value) for name, value in given.items()} if isinstance(given, Mapping) else given
    try:
        return checked_metadata(plain)
    except ValueError as error:
        raise InvalidMessage(str(error)) from error


def metadata_of(info: Mapping[str, Any] | None) -> dict[str, MetadataValue]:
    """What a message's ``info.metadata`` gives to all that is remembered of it. Raises InvalidMessage."""
    try:
        return checked_metadata((info or {}).get("metadata"))
    except ValueError as error:
        raise InvalidMessage(f"info.{error}") from error


def keywords_of(metadata: Mapping[str, MetadataValue]) -> list[str]:
    """What a memory with this metadata is found by."""
    return [
        keyword_of(name, each)
        for name, value in metadata.items()
        for each in (value if isinstance(value, list) else [value])
    ]


def named(name: Any, what: str) -> str:
    """Where a name stands, as errors call it. Raises ValueError for one that is none."""
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"{what}: a name is a text of 1 to {LONGEST_NAME} characters, not {str(name)[:80]!r}")
    return f"{what}.{name}"


def single_value(value: Any, where: str) -> str | int | float | bool:
    """A text, a number, true or false. Raises ValueError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"{where} has at most {LONGEST_TEXT:,} characters")
        return value
    if isinstance(value, int | float):
        return number_of(value, where)
    raise ValueError(f"{where} must be a text, a number, true or false, or a list of these, not {type(value).__name__}")


def number_of(value: Any, where: str) -> int | float:
    """Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} must be a number, not {type(value).__name__}")
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError(f"{where} must be a number that 64 bits hold")
    return value


def keyword_of(name: str, value: str | int | float | bool) -> str:
    """One for equal values: 2 and 2.0 are, 1 and true are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps([name, value], ensure_ascii=False)
