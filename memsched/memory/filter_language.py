"""The filter language: what metadata and fields of a memory must be. In the library, at a terminal and over HTTP.

``{"project": "atlas", "year": {"gte": 2025}, "not": {"@kind": "turn"}}``: all must hold. A name is one of metadata, or
with an ``@`` before it a field of the memory. Its value is a value (equal; of a list: one of its values), a list (any
of them), or operators: eq, ne, in, gt, gte, lt, lte, contains, exists. ``and`` and ``or`` have lists of filters,
``not`` has one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from memsched.memory.metadata import (
    MOST_NAMES,
    MOST_VALUES,
    MetadataValue,
    keyword_of,
    named,
    number_of,
    single_value,
)
from memsched.memory.model import Memory, folded, to_ms

DEEPEST = 5
FieldType = Literal["keyword", "keywords", "text", "number", "time"]
FIELDS: Mapping[str, FieldType] = {
    "text": "text",
    "kind": "keyword",
    "memory_type": "keyword",
    "speaker": "keyword",
    "session_id": "keyword",
    "status": "keyword",
    "added_by": "keyword",
    "event_date": "keyword",
    "tags": "keywords",
    "at": "time",
    "created_at": "time",
    "updated_at": "time",
    "last_used_at": "time",
    "use_count": "number",
    "importance": "number",
    "value": "number",
    "version": "number",
}
"""What can be asked for with an ``@``."""
_PATH_NAME = re.compile(r"[A-Za-z0-9_]+")
"""Of metadata that is asked for by its size, a part or its being there: the store knows it by a path."""
_BOUNDS = ("gt", "gte", "lt", "lte")
_OPERATORS = ("eq", "ne", "in", *_BOUNDS, "contains", "exists")
_JOINED = ("and", "or", "not")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be; one of these.

    Args:
        any_of: the values, of which it must have one. Of metadata they are keywords.
        at_least, below: bounds, the upper one exclusive.
        contains: a part of it: of a text some of its characters, of a list one of its values.
        exists: whether there must be one.
    """

    any_of: tuple[Any, ...] = ()
    at_least: float | None = None
    below: float | None = None
    contains: Any = None
    exists: bool | None = None


@dataclass(frozen=True, slots=True)
class Has:
    """What one name's value must be; ``field``: a field of the memory, else metadata."""

    name: str
    rule: Rule
    field: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class AllOf:
    """All of these must hold; true where there are none."""

    parts: tuple[FilterPart, ...] = ()

    def __repr__(self) -> str:
        return f"AllOf({self.parts!r})" if self.parts else "{}"

    def __bool__(self) -> bool:
        return bool(self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these must hold."""

    parts: tuple[FilterPart, ...]


@dataclass(frozen=True, slots=True)
class NotOf:
    """This must not hold."""

    part: FilterPart


FilterPart = Has | AllOf | AnyOf | NotOf


def filter_of(given: Any) -> AllOf:
    """A filter as it is given. Raises ValueError."""
    if isinstance(given, AllOf):
        return given
    found = _all_of(given, 1)
    if sum(1 for _ in _leaves(found)) > MOST_NAMES:
        raise ValueError(f"it has at most {MOST_NAMES} names")
    return found


def fits(memory: Memory, asked: FilterPart) -> bool:
    """Whether a memory is what a filter asks for."""
    match asked:
        case AllOf(parts):
            return all(fits(memory, part) for part in parts)
        case AnyOf(parts):
            return any(fits(memory, part) for part in parts)
        case NotOf(part):
            return not fits(memory, part)
        case Has(name, rule, True):
            return _holds(_field_values(memory, name), rule)
        case Has(name, rule, _):
            return _metadata_holds(memory.metadata, name, rule)


# -- as it is looked at ------------------------------------------------------------------------------------------------


def _metadata_holds(metadata: Mapping[str, MetadataValue], name: str, rule: Rule) -> bool:
    value = metadata.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if rule.any_of:
        return any(keyword_of(name, each) in rule.any_of for each in values)
    if rule.contains is not None and any(keyword_of(name, each) == keyword_of(name, rule.contains) for each in values):
        return True
    return _holds(values, rule)


def _field_values(memory: Memory, name: str) -> Sequence[Any]:
    value = getattr(memory, name)
    if FIELDS[name] == "keywords":
        return list(value)
    if value in (None, ""):
        return []
    if FIELDS[name] == "time":
        return [to_ms(value)]
    return [folded(value) if name == "speaker" else value]


def _holds(values: Sequence[Any], rule: Rule) -> bool:
    if rule.exists is not None:
        return bool(values) is rule.exists
    if rule.any_of:
        return any(each in rule.any_of for each in values)
    if rule.contains is not None:
        texts = [each for each in values if isinstance(each, str)]
        return rule.contains in values or any(str(rule.contains) in each for each in texts)
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    return any(within_bounds(each, rule) for each in numbers)


def within_bounds(number: float, rule: Rule) -> bool:
    """Whether a number is as large as it must be."""
    return (rule.at_least is None or rule.at_least <= number) and (rule.below is None or number < rule.below)


# -- as it is given ----------------------------------------------------------------------------------------------------


def _all_of(given: Any, depth: int) -> AllOf:
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST}")
    if not isinstance(given, Mapping):
        raise ValueError(f"it must be a mapping, not {type(given).__name__}")
    if len(given) > MOST_NAMES:
        raise ValueError(f"it has at most {MOST_NAMES} names")
    return AllOf(tuple(part for name, value in given.items() for part in _parts(name, value, depth)))


def _parts(name: Any, value: Any, depth: int) -> Iterator[FilterPart]:
    joined = name.removeprefix("$") if isinstance(name, str) else name
    if joined == "not" and isinstance(value, Mapping):
        yield NotOf(_all_of(value, depth + 1))
    elif joined in _JOINED and isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        parts = tuple(_all_of(each, depth + 1) for each in value)
        yield AllOf(parts) if joined == "and" else AnyOf(parts) if joined == "or" else NotOf(AnyOf(parts))
    elif isinstance(name, str) and name.startswith("@"):
        yield from _of_field(name.removeprefix("@"), value)
    else:
        yield from _of_metadata(name, value)


def _of_field(name: str, value: Any) -> Iterator[FilterPart]:
    if name not in FIELDS:
        known = ", ".join(f"@{each}" for each in FIELDS)
        raise ValueError(f"filter.@{name[:64]}: there is no such field; there are {known}")
    kind, where = FIELDS[name], f"filter.@{name}"

    def equal(values: Sequence[Any]) -> FilterPart:
        read = [_field_value(kind, name, each, where) for each in values]
        if kind in ("number", "time"):
            return AnyOf(tuple(Has(name, _exactly(each, kind), field=True) for each in read))
        return Has(name, Rule(any_of=tuple(read)), field=True)

    def bounds(given: Mapping[str, Any]) -> FilterPart:
        if kind not in ("number", "time"):
            raise ValueError(f"{where} has no size")
        read = {each: _field_value(kind, name, of, where) for each, of in given.items()}
        return Has(name, _between(where, read), field=True)

    def part(given: Any) -> FilterPart:
        if kind not in ("text", "keywords", "keyword"):
            raise ValueError(f"{where} has no parts")
        return Has(name, Rule(contains=_field_value("keyword", name, given, where)), field=True)

    def there(exists: bool) -> FilterPart:
        if kind == "number":
            raise ValueError(f"{where} is always there")
        return Has(name, Rule(exists=exists), field=True)

    yield from _rules(where, value, equal, bounds, part, there)


def _field_value(kind: FieldType, name: str, given: Any, where: str) -> Any:
    if kind == "number":
        return number_of(given, where)
    if not isinstance(given, str):
        raise ValueError(f"{where} must be a text, not {type(given).__name__}")
    if kind == "time":
        try:
            at = datetime.fromisoformat(given)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            raise ValueError(f"{where} must be a time with a zone, as 2026-05-01T10:30:00Z")
        return to_ms(at)
    return folded(str(single_value(given, where))) if name == "speaker" else single_value(given, where)


def _of_metadata(name: Any, value: Any) -> Iterator[FilterPart]:
    where = named(name, "filter")

    def by_path() -> None:
        if not _PATH_NAME.fullmatch(name):
            raise ValueError(f"{where} cannot be asked for so: such names have letters of a to z, digits and _")

    def equal(values: Sequence[Any]) -> FilterPart:
        return Has(name, Rule(any_of=tuple(keyword_of(name, single_value(each, where)) for each in values)))

    def bounds(given: Mapping[str, Any]) -> FilterPart:
        by_path()
        return Has(name, _between(where, {each: number_of(of, f"{where}.{each}") for each, of in given.items()}))

    def part(given: Any) -> FilterPart:
        by_path()
        return Has(name, Rule(contains=single_value(given, where)))

    def there(exists: bool) -> FilterPart:
        by_path()
        return Has(name, Rule(exists=exists))

    yield from _rules(where, value, equal, bounds, part, there)


def _rules(where: str, value: Any, equal: Any, bounds: Any, part: Any, there: Any) -> Iterator[FilterPart]:
    """The parts of a value, or of operators; the makers know what the name is."""
    if not isinstance(value, Mapping):
        yield equal(_several(value, where))
        return
    rules = {str(operator).removeprefix("$"): each for operator, each in value.items()}
    if not rules or (unknown := sorted(rules.keys() - {*_OPERATORS})):
        raise ValueError(
            f"{where} has no operator {unknown[0] if rules else ''!r:.40}; there are {', '.join(_OPERATORS)}"
        )
    if rules.keys() & {"eq", "in"} and len(rules) > 1:
        raise ValueError(f"{where} has {' and '.join(rules)}: one of them says all")
    for operator in ("eq", "ne", "in"):
        if operator in rules and isinstance(rules[operator], list | tuple | set) != (operator == "in"):
            raise ValueError(f"{where}.{operator} must be {'a list' if operator == 'in' else 'one value'}")
    for operator, asked in rules.items():
        match operator:
            case "eq" | "in":
                yield equal(_several(asked, where))
            case "ne":
                yield NotOf(equal(_several(asked, where)))
            case "contains":
                yield part(asked)
            case "exists":
                if not isinstance(asked, bool):
                    raise ValueError(f"{where}.exists must be true or false")
                yield there(asked)
    if limits := {each: rules[each] for each in _BOUNDS if each in rules}:
        yield bounds(limits)


def _exactly(number: float, kind: FieldType) -> Rule:
    return Rule(at_least=number, below=number + 1 if kind == "time" else math.nextafter(number, math.inf))


def _between(where: str, bounds: Mapping[str, float]) -> Rule:
    lowest = [bounds["gte"]] if "gte" in bounds else []
    lowest += [math.nextafter(bounds["gt"], math.inf)] if "gt" in bounds else []
    highest = [bounds["lt"]] if "lt" in bounds else []
    highest += [math.nextafter(bounds["lte"], math.inf)] if "lte" in bounds else []
    found = Rule(at_least=max(lowest, default=None), below=min(highest, default=None))
    if found.at_least is not None and found.below is not None and found.at_least >= found.below:
        raise ValueError(f"{where}: nothing lies between these bounds")
    return found


def _several(value: Any, where: str) -> Sequence[Any]:
    values = [*value] if isinstance(value, list | tuple | set) else [value]
    if not 1 <= len(values) <= MOST_VALUES:
        raise ValueError(f"{where} must have from 1 to {MOST_VALUES} values")
    return values


def _leaves(part: FilterPart) -> Iterator[Has]:
    match part:
        case Has():
            yield part
        case AllOf(parts) | AnyOf(parts):
            for each in parts:
                yield from _leaves(each)
        case NotOf(negated):
            yield from _leaves(negated)
