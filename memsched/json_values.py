"""What programs hold messages in, as JSON values: objects of SDKs, data classes, tuples, times."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from memsched.errors import InvalidMessage

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
    if callable(getattr(type(given), "item", None)) and hasattr(type(given), "dtype"):  # a number of numpy's
        try:
            return as_json_value(given.item(), depth + 1)
        except ValueError:  # several numbers
            return given
    if (fields := fields_of(given)) is not None:
        return {str(name): as_json_value(_role_or_value(name, value), depth + 1) for name, value in fields.items()}
    if isinstance(given, list | tuple):
        return [as_json_value(each, depth + 1) for each in given]
    return given


def _role_or_value(name: Any, value: Any) -> Any:
    """A role that is an Enum of numbers says what it is by its name."""
    return value.name if name == "role" and isinstance(value, Enum) and not isinstance(value.value, str) else value


def fields_of(given: Any) -> Mapping[Any, Any] | None:
    """What an object holds, by name: a mapping, a model, a data class, or what has a message's attributes."""
    if isinstance(given, Mapping):
        return given
    if isinstance(given, type | str | bytes | list):
        return None
    try:
        return _fields_of_object(given)
    except Exception as error:  # an object's own code runs here
        raise InvalidMessage(f"{type(given).__name__} cannot be read: {type(error).__name__}: {error}") from error


def place_of_no_json(value: Any, where: str, depth: int = 0) -> str:
    """Where in a value the first is that JSON does not have, and what it is; "" if there is none."""
    if depth > _DEEPEST:
        return f"{where} is too deep"
    if isinstance(value, Mapping):
        pairs = [(f"{where}.{name}", each) for name, each in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(f"{where}[{number}]", each) for number, each in enumerate(value)]
    else:
        known = value is None or (isinstance(value, str | int | float) and not _is_no_number(value))
        return "" if known else f"{where} is {value if _is_no_number(value) else type(value).__name__}"
    return next((found for inner, each in pairs if (found := place_of_no_json(each, inner, depth + 1))), "")


def _is_no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _fields_of_object(given: Any) -> Mapping[Any, Any] | None:
    for name, options in _DUMPS:
        if callable(getattr(type(given), name, None)):
            try:
                fields = getattr(given, name)(**options)
            except (TypeError, ValueError):  # another one's method of that name; what its model cannot tell
                continue
            if isinstance(fields, Mapping):
                return fields
    if dataclasses.is_dataclass(given):
        return {each.name: getattr(given, each.name) for each in dataclasses.fields(given)}
    if isinstance(given, tuple) and hasattr(given, "_asdict"):
        return dict(given._asdict())
    there = {name: getattr(given, name) for name in _MESSAGE_NAMES if _is_there(given, name)}
    return there if "content" in there or "parts" in there else None


def _is_there(given: Any, name: str) -> bool:
    """Whether an object has an attribute. A mock has any that it is asked for, without end."""
    missing = object()
    found = inspect.getattr_static(given, name, missing)
    if found is missing:
        return False
    return not inspect.ismemberdescriptor(found) or hasattr(given, name)
