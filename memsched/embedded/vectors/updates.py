"""Updates, from JSON to the engine's operations: upserts, deletions, and changes of payloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.filters import parse_filter
from memsched.embedded.vectors.queries import parse_vector
from memsched.embedded.vectors.validation import Json, RequestError, as_object, bad_request, required, unsupported

Operation = edge.UpdateOperation
_MODES = {"upsert": edge.UpdateMode.Upsert, "insert_only": edge.UpdateMode.InsertOnly}


@dataclass(frozen=True)
class Vectors:
    """The vectors of a collection: the dense ones with their dimensions, the sparse ones."""

    dense: dict[str, int]
    sparse: frozenset[str]

    def parse(self, given: Any) -> Any:
        """The vectors of one point. Checked here: the engine would find a fault after half a batch is written."""
        if not isinstance(given, dict):
            raise bad_request("vectors must be an object of named vectors")
        parsed = {}
        for name, vector in given.items():
            parsed[name] = parse_vector(vector, f"vector {name}")
            if name in self.sparse:
                if isinstance(vector, list):
                    raise bad_request(f"the vector {name} is sparse")
                continue
            size = self.dense.get(name)
            if size is None:
                raise bad_request(f"Not existing vector name error: {name}")
            if not isinstance(vector, list):
                raise bad_request(f"the vector {name} is dense")
            if len(vector) != size:
                raise bad_request(f"Vector dimension error: expected dim: {size}, got {len(vector)}")
        return parsed


def parse_upsert(given: Any, vectors: Vectors) -> Any:
    given = as_object(given, "request", "points", "update_mode")
    mode = _MODES.get(given.get("update_mode", "upsert"))
    if mode is None:
        raise unsupported(f"the update_mode {given['update_mode']}")
    rows = [as_object(point, "point", "id", "vector", "payload") for point in required(given, "points")]
    points = [edge.Point(required(row, "id"), vectors.parse(row.get("vector", {})), row.get("payload")) for row in rows]
    return Operation.upsert_points(points, update_mode=mode)


def _selected(given: Json) -> tuple[list[Any], edge.Filter | None]:
    """The points that an update is for: ids, or a filter."""
    if "points" in given:
        return given["points"], None
    if "filter" in given:
        return [], parse_filter(given["filter"])
    raise RequestError(422, "Validation error: either points or filter must be given")


def parse_delete(given: Any) -> Any:
    ids, filter_ = _selected(as_object(given, "request", "points", "filter"))
    return Operation.delete_points(ids) if filter_ is None else Operation.delete_points_by_filter(filter_)


def _set_payload(given: Any) -> Any:
    given = as_object(given, "set_payload", "payload", "points", "filter", "key")
    ids, filter_ = _selected(given)
    payload, key = required(given, "payload"), given.get("key")
    if filter_ is None:
        return Operation.set_payload(ids, payload, key)
    return Operation.set_payload_by_filter(filter_, payload, key)


def _overwrite_payload(given: Any) -> Any:
    given = as_object(given, "overwrite_payload", "payload", "points")
    return Operation.overwrite_payload(required(given, "points"), required(given, "payload"))


def _update_vectors(given: Any, vectors: Vectors) -> Any:
    given = as_object(given, "update_vectors", "points")
    rows = [as_object(point, "point", "id", "vector") for point in required(given, "points")]
    return Operation.update_vectors(
        [edge.PointVectors(required(row, "id"), vectors.parse(required(row, "vector"))) for row in rows]
    )


_OPERATIONS: dict[str, Callable[[Any, Vectors], Any]] = {
    "set_payload": lambda given, _: _set_payload(given),
    "overwrite_payload": lambda given, _: _overwrite_payload(given),
    "update_vectors": _update_vectors,
}


def parse_batch(given: Any, vectors: Vectors) -> list[Any]:
    """Several updates of payloads or vectors, all parsed before the first is applied."""
    parsed = []
    for operation in required(as_object(given, "request", "operations"), "operations"):
        named = as_object(operation, "operation", *_OPERATIONS)
        if len(named) != 1:
            raise bad_request(f"an operation must be one of {', '.join(_OPERATIONS)}")
        [(kind, request)] = named.items()
        parsed.append(_OPERATIONS[kind](request, vectors))
    return parsed
