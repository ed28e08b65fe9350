"""Metadata: what whoever adds a memory gives with it, and the filters by which a search asks for it.

In the store each value is a keyword of its own, so that any name and any type can be asked for; ranges look at the
number itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from memsched.errors import InvalidMessage
from memsched.json_values import as_json_value

MetadataValue = str | int | float | bool | list[str | int | float | bool]

MOST_NAMES, MOST_VALUES = 64, 64
LONGEST_NAME, LONGEST_TEXT = 64, 1_000
_LARGEST = 2**63 - 1
_RANGE_NAME = re.compile(r"[A-Za-z0-9_]+")
"""Of a number that is asked for by its size: the store knows it by a path."""
_BOUNDS = ("gt", "gte", "lt", "lte")
_OPERATORS = ("eq", "in", *_BOUNDS)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one name's value must be.

    Args:
        any_of: the keywords, of which it must have one; none: it is asked for by its size.
        at_least, below: bounds, the upper one exclusive.
    """

    any_of: tuple[str, ...] = ()
    at_least: float | None = None
    below: float | None = None


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
        where = _named(name, "metadata")
        if isinstance(value, list | tuple | set):
            if len(value) > MOST_VALUES:
                raise ValueError(f"{where} has at most {MOST_VALUES} values")
            found[name] = [_single(each, where) for each in value]
        else:
            found[name] = _single(value, where)
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
        _keyword(name, each)
        for name, value in metadata.items()
        for each in (value if isinstance(value, list) else [value])
    ]


def wanted(given: Any) -> dict[str, Wanted]:
    """A filter, by name: a value (equal; of a list: one of its values), a list (any of them), or operators.

    ``{"project": "atlas", "year": [2025, 2026], "pages": {"gte": 10, "lt": 20}}``. All names must hold. Raises
    ValueError.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"it must be a mapping, not {type(given).__name__}")
    if len(given) > MOST_NAMES:
        raise ValueError(f"it has at most {MOST_NAMES} names")
    return {name: value if isinstance(value, Wanted) else _wanted(name, value) for name, value in given.items()}


def fits(metadata: Mapping[str, MetadataValue], asked: Mapping[str, Wanted]) -> bool:
    """Whether metadata is what a filter asks for."""
    return all(_fits(name, metadata[name], rule) if name in metadata else False for name, rule in asked.items())


def _fits(name: str, value: MetadataValue, rule: Wanted) -> bool:
    values = value if isinstance(value, list) else [value]
    if rule.any_of:
        return any(_keyword(name, each) in rule.any_of for each in values)
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    lowest, highest = (
        -math.inf if rule.at_least is None else rule.at_least,
        math.inf if rule.below is None else rule.below,
    )
    return any(lowest <= each < highest for each in numbers)


def _wanted(name: Any, value: Any) -> Wanted:
    where = _named(name, "filter")
    if not isinstance(value, Mapping):
        return Wanted(tuple(_keyword(name, each) for each in _several(value, where)))
    rules = {str(operator).removeprefix("$"): each for operator, each in value.items()}
    if not rules or (unknown := sorted(rules.keys() - {*_OPERATORS})):
        raise ValueError(f"{where} has no operator {unknown[0] if rules else ''!r}; there are {', '.join(_OPERATORS)}")
    if rules.keys() & {"eq", "in"}:
        if len(rules) > 1:
            raise ValueError(f"{where} has {' and '.join(rules)}: one of them says all")
        (operator, asked), *_ = rules.items()
        if isinstance(asked, list | tuple | set) != (operator == "in"):
            raise ValueError(f"{where}.{operator} must be {'a list' if operator == 'in' else 'one value'}")
        return _wanted(name, asked)
    if not _RANGE_NAME.fullmatch(name):
        raise ValueError(f"{where} cannot be asked for by its size: such names have letters of a to z, digits and _")
    return _between(where, {operator: _number(each, f"{where}.{operator}") for operator, each in rules.items()})


def _between(where: str, bounds: Mapping[str, float]) -> Wanted:
    lowest = [bounds["gte"]] if "gte" in bounds else []
    lowest += [math.nextafter(bounds["gt"], math.inf)] if "gt" in bounds else []
    highest = [bounds["lt"]] if "lt" in bounds else []
    highest += [math.nextafter(bounds["lte"], math.inf)] if "lte" in bounds else []
    found = Wanted(at_least=max(lowest, default=None), below=min(highest, default=None))
    if found.at_least is not None and found.below is not None and found.at_least >= found.below:
        raise ValueError(f"{where}: nothing lies between these bounds")
    return found


def _several(value: Any, where: str) -> Iterator[str | int | float | bool]:
    values = value if isinstance(value, list | tuple | set) else [value]
    if not 1 <= len(values) <= MOST_VALUES:
        raise ValueError(f"{where} must have from 1 to {MOST_VALUES} values")
    return (_single(each, where) for each in values)


def _named(name: Any, what: str) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"{what}: a name is a text of 1 to {LONGEST_NAME} characters, not {str(name)[:80]!r}")
    return f"{what}.{name}"


def _single(value: Any, where: str) -> str | int | float | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"{where} has at most {LONGEST_TEXT:,} characters")
        return value
    if isinstance(value, int | float):
        return _number(value, where)
    raise ValueError(f"{where} must be a text, a number, true or false, or a list of these, not {type(value).__name__}")


def _number(value: Any, where: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} must be a number, not {type(value).__name__}")
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError(f"{where} must be a number that 64 bits hold")
    return value


def _keyword(name: str, value: str | int | float | bool) -> str:
    """One for equal values: 2 and 2.0 are, 1 and true are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps([name, value], ensure_ascii=False)
