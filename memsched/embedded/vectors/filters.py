"""Qdrant's filters, from JSON to the engine's objects. What is not known is refused, never ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.validation import bad_request

Json = dict[str, Any]


def as_list(value: Any) -> list[Any]:
    """Qdrant takes one thing where it takes several."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def as_object(value: Any, what: str, *known: str) -> Json:
    """A JSON object with no other keys than these; keys that are null are as good as absent."""
    if not isinstance(value, dict):
        raise bad_request(f"{what} must be an object")
    if not value.keys() <= set(known):
        unknown = ", ".join(sorted(value.keys() - set(known)))
        raise bad_request(f"{what}: unknown field {unknown}")
    return {key: item for key, item in value.items() if item is not None}


def needed(given: Json, field: str) -> Any:
    if field not in given:
        raise bad_request(f"missing field {field}")
    return given[field]


def parse_filter(given: Any) -> edge.Filter | None:
    if given is None:
        return None
    given = as_object(given, "filter", "must", "should", "must_not", "min_should")
    min_should = None
    if "min_should" in given:
        rule = as_object(given["min_should"], "min_should", "conditions", "min_count")
        min_should = edge.MinShould(_conditions(needed(rule, "conditions")), needed(rule, "min_count"))
    return edge.Filter(
        must=_conditions(given["must"]) if "must" in given else None,
        should=_conditions(given["should"]) if "should" in given else None,
        must_not=_conditions(given["must_not"]) if "must_not" in given else None,
        min_should=min_should,
    )


def _conditions(given: Any) -> list[Any]:
    return [parse_condition(condition) for condition in as_list(given)]


def parse_condition(given: Any) -> Any:
    if not isinstance(given, dict):
        raise bad_request("a condition must be an object")
    if "key" in given:
        return _field_condition(given)
    for kind, build in _CONDITIONS.items():
        if kind in given:
            return build(as_object(given, "condition", kind)[kind])
    return parse_filter(given)


def _nested(given: Any) -> Any:
    nested = as_object(given, "nested", "key", "filter")
    return edge.NestedCondition(needed(nested, "key"), parse_filter(needed(nested, "filter")) or edge.Filter())


_CONDITIONS: dict[str, Callable[[Any], Any]] = {
    "is_empty": lambda given: edge.IsEmptyCondition(needed(as_object(given, "is_empty", "key"), "key")),
    "is_null": lambda given: edge.IsNullCondition(needed(as_object(given, "is_null", "key"), "key")),
    "has_id": lambda given: edge.HasIdCondition(set(as_list(given))),
    "has_vector": edge.HasVectorCondition,
    "nested": _nested,
}


def _field_condition(given: Json) -> edge.FieldCondition:
    given = as_object(given, "condition", "key", *_FIELD_RULES)
    rules = {name: _FIELD_RULES[name](rule) for name, rule in given.items() if name != "key"}
    return edge.FieldCondition(given["key"], **rules)


def _match(given: Any) -> Any:
    match = as_object(given, "match", *_MATCHES)
    if len(match) != 1:
        raise bad_request(f"match needs exactly one of {', '.join(_MATCHES)}")
    [(kind, value)] = match.items()
    return _MATCHES[kind](value)


class _Bool:
    """True or False as a match: qdrant-edge 0.9 takes Python's own for 1 or 0, but numpy's for what they are.

    It tells numpy's by their names, so numpy itself, slow to import, can stay away.
    """

    def __init__(self, value: bool) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return self._value


_Bool.__module__, _Bool.__name__, _Bool.__qualname__ = "numpy", "bool", "bool"


def _match_value(value: Any) -> Any:
    given: Any = _Bool(value) if isinstance(value, bool) else value
    return edge.MatchValue(given)


_MATCHES: dict[str, Callable[[Any], Any]] = {
    "value": _match_value,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
}

_BOUNDS = ("gte", "gt", "lte", "lt")


def _range(given: Any) -> Any:
    bounds = as_object(given, "range", *_BOUNDS)
    if any(isinstance(bound, str) for bound in bounds.values()):
        return edge.RangeDateTime(**bounds)
    return edge.RangeFloat(**bounds)


def _geo_point(given: Any) -> Any:
    point = as_object(given, "geo point", "lon", "lat")
    return edge.GeoPoint(needed(point, "lon"), needed(point, "lat"))


def _geo_line(given: Any) -> list[Any]:
    return [_geo_point(point) for point in as_object(given, "geo line", "points").get("points", [])]


def _geo_box(given: Any) -> Any:
    box = as_object(given, "geo_bounding_box", "top_left", "bottom_right")
    return edge.GeoBoundingBox(_geo_point(box.get("top_left")), _geo_point(box.get("bottom_right")))


def _geo_radius(given: Any) -> Any:
    circle = as_object(given, "geo_radius", "center", "radius")
    return edge.GeoRadius(_geo_point(circle.get("center")), needed(circle, "radius"))


def _geo_polygon(given: Any) -> Any:
    polygon = as_object(given, "geo_polygon", "exterior", "interiors")
    interiors = [_geo_line(line) for line in polygon.get("interiors", [])]
    return edge.GeoPolygon(_geo_line(polygon.get("exterior")), interiors or None)


_FIELD_RULES: dict[str, Callable[[Any], Any]] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": _geo_box,
    "geo_radius": _geo_radius,
    "geo_polygon": _geo_polygon,
    "values_count": lambda given: edge.ValuesCount(**as_object(given, "values_count", *_BOUNDS)),
    "is_empty": bool,
    "is_null": bool,
}
