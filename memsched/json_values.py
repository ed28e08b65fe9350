"""What programs hold messages in, as JSON values: objects of SDKs, data classes, tuples, times."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

_DEEPEST = 50
_DUMPS: tuple[tuple[str, dict[str, Any]], ...] = (("model_dump", {"mode": "json"}), ("to_dict", {}), ("dict", {}))
"""How objects give what they hold: pydantic's, and those of SDKs that have other models."""
_MESSAGE_NAMES = ("role", "type", "name", "content", "parts", "tool_calls", "timestamp", "created_at", "id")


def as_json_value(given: Any, depth: int = 0) -> Any:
    """The value as JSON has it. What is not known is returned as it is, and so refused where JSON is made of it.

    A time without a zone is local time, as ``datetime.now()`` gives it.
    """
    if given is None or type(given) in (str, int, float, bool) or depth > _DEEPEST:
        return given
    if isinstance(given, Enum):
        return as_json_value(given.value, depth + 1)
    if isinstance(given, datetime):
        return (given if given.tzinfo is not None else given.astimezone()).isoformat()
    if isinstance(given, date):
        return given.isoformat()
    if isinstance(given, UUID):
        return str(given)
    if (fields := fields_of(given)) is not None:
        return {str(name): as_json_value(value, depth + 1) for name, value in fields.items()}
    if isinstance(given, list | tuple):
        return [as_json_value(each, depth + 1) for each in given]
    return given


def fields_of(given: Any) -> Mapping[Any, Any] | None:
    """What an object holds, by name: a mapping, a model, a data class, or what has a message's attributes."""
    if isinstance(given, Mapping):
        return given
    if isinstance(given, type | str | bytes | list):
        return None
    for name, options in _DUMPS:
        if callable(dump := getattr(given, name, None)):
            try:
                fields = dump(**options)
            except (TypeError, ValueError):  # another one's method of that name; what its model cannot tell
                continue
            if isinstance(fields, Mapping):
                return fields
    if dataclasses.is_dataclass(given):
        return {each.name: getattr(given, each.name) for each in dataclasses.fields(given)}
    if isinstance(given, tuple) and hasattr(given, "_asdict"):
        return dict(given._asdict())
    there = {name: getattr(given, name) for name in _MESSAGE_NAMES if hasattr(given, name)}
    return there if "content" in there or "parts" in there else None
