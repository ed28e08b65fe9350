"""Filters on payload fields and ids, from JSON to the engine's objects: match, range, has_id and is_empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.validation import Json, as_object, bad_request, required, unsupported


def parse_filter(given: Any) -> edge.Filter | None:
    if given is None:
        return None
    given = as_object(given, "filter", "must", "should", "must_not")
    must, should, must_not = (_conditions(given.get(clause)) for clause in ("must", "should", "must_not"))
    return edge.Filter(must=must, should=should, must_not=must_not)


def _conditions(given: Any) -> list[Any] | None:
    return None if given is None else [_condition(condition) for condition in given]


def _condition(given: Any) -> Any:
    if not isinstance(given, dict):
        raise bad_request("a condition must be an object")
    if "key" in given:
        return _field_condition(given)
    if "has_id" in given:
        return edge.HasIdCondition(set(required(as_object(given, "condition", "has_id"), "has_id")))
    if "is_empty" in given:
        field = required(as_object(given, "condition", "is_empty"), "is_empty")
        return edge.IsEmptyCondition(required(as_object(field, "is_empty", "key"), "key"))
    return parse_filter(given)


def _field_condition(given: Json) -> edge.FieldCondition:
    given = as_object(given, "condition", "key", *_RULES)
    rules = {name: _RULES[name](rule) for name, rule in given.items() if name != "key"}
    return edge.FieldCondition(required(given, "key"), **rules)


def _match(given: Any) -> Any:
    match = as_object(given, "match", "value", "any", "text")
    if len(match) != 1:
        raise bad_request("match needs exactly one of value, any, text")
    if "text" in match:
        return edge.MatchSubstring(match["text"])  # as a server does without an index for texts
    if "any" in match:
        return edge.MatchAny([_word_or_number(value) for value in match["any"]])
    return edge.MatchValue(_word_or_number(match["value"]))


def _word_or_number(value: Any) -> Any:
    if isinstance(value, bool):  # the engine's binding would take it for 1 or 0
        raise unsupported("true and false in match")
    return value


def _range(given: Any) -> Any:
    bounds = as_object(given, "range", "gte", "lt")
    if any(isinstance(bound, str) for bound in bounds.values()):
        raise unsupported("dates in range")
    return edge.RangeFloat(**bounds)


_RULES: dict[str, Callable[[Any], Any]] = {"match": _match, "range": _range}
