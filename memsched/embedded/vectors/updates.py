"""Qdrant's updates, from JSON to the engine's operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.filters import Json, as_list, as_object, needed, parse_filter
from memsched.embedded.vectors.queries import parse_vector
from memsched.embedded.vectors.validation import RequestError, bad_request

Operation = edge.UpdateOperation
MODES = {
    "upsert": edge.UpdateMode.Upsert,
    "insert_only": edge.UpdateMode.InsertOnly,
    "update_only": edge.UpdateMode.UpdateOnly,
}


@dataclass(frozen=True)
class Vectors:
    """The vectors of a collection: the dense ones with their dimensions, the sparse ones."""

    dense: dict[str, int]
    sparse: frozenset[str]

    def parse(self, given: Any) -> Any:
        """The vectors of one point. Checked here: the engine would find a fault after half a batch is written."""
        if given is None:
            given = {}
        if isinstance(given, list):
            given = {"": given}
        if not isinstance(given, dict):
            raise bad_request("vectors must be a list or an object of named vectors")
        parsed = {}
        for name, vector in given.items():
            parsed[name] = parse_vector(vector)
            if name in self.sparse:
                if isinstance(vector, list):
                    raise bad_request(f"the vector {name} is sparse")
                continue
            size = self.dense.get(name)
            if size is None:
                raise bad_request(f"Not existing vector name error: {name}")
            if not isinstance(vector, list):
                raise bad_request(f"the vector {name} is dense")
            for row in vector if vector and isinstance(vector[0], list) else (vector,):
                if len(row) != size:
                    raise bad_request(f"Vector dimension error: expected dim: {size}, got {len(row)}")
        return parsed


def parse_upsert(given: Any, vectors: Vectors) -> Any:
    given = as_object(given, "request", "points", "batch", "shard_key", "update_filter", "update_mode")
    if "batch" in given:
        batch = as_object(given["batch"], "batch", "ids", "vectors", "payloads")
        rows = _rows(batch)
    else:
        rows = [as_object(point, "point", "id", "vector", "payload") for point in given.get("points", [])]
    mode = given.get("update_mode", "upsert")
    if mode not in MODES:
        raise bad_request(f"unknown update_mode {mode}")
    points = [edge.Point(needed(row, "id"), vectors.parse(row.get("vector")), row.get("payload")) for row in rows]
    return Operation.upsert_points(points, parse_filter(given.get("update_filter")), MODES[mode])


def _rows(batch: Json) -> list[Json]:
    ids = batch.get("ids", [])
    payloads = batch.get("payloads") or [None] * len(ids)
    columns: Any = batch.get("vectors", [])
    if isinstance(columns, dict):
        if any(len(column) != len(ids) for column in columns.values()):
            raise bad_request("a batch needs as many vectors as ids")
        columns = [{name: column[i] for name, column in columns.items()} for i in range(len(ids))]
    if len(columns) != len(ids) or len(payloads) != len(ids):
        raise bad_request("a batch needs as many vectors and payloads as ids")
    rows = zip(ids, columns, payloads, strict=True)
    return [{"id": id_, "vector": vector, "payload": payload} for id_, vector, payload in rows]


def _selected(given: Json) -> tuple[list[Any], edge.Filter | None]:
    """The points that an update is for: ids, or a filter."""
    if "points" in given:
        return as_list(given["points"]), None
    if "filter" in given:
        return [], parse_filter(given["filter"])
    raise RequestError(422, "Validation error: either points or filter must be given")


def parse_delete(given: Any, vectors: Vectors) -> Any:
    ids, filter_ = _selected(as_object(given, "request", "points", "filter", "shard_key"))
    return Operation.delete_points(ids) if filter_ is None else Operation.delete_points_by_filter(filter_)


def parse_set_payload(given: Any, vectors: Vectors) -> Any:
    given = as_object(given, "request", "payload", "points", "filter", "shard_key", "key")
    ids, filter_ = _selected(given)
    payload, key = given.get("payload"), given.get("key")
    if filter_ is None:
        return Operation.set_payload(ids, payload, key)
    return Operation.set_payload_by_filter(filter_, payload, key)


def parse_overwrite_payload(given: Any, vectors: Vectors) -> Any:
    given = as_object(given, "request", "payload", "points", "filter", "shard_key", "key")
    ids, filter_ = _selected(given)
    payload, key = given.get("payload"), given.get("key")
    if filter_ is None:
        return Operation.overwrite_payload(ids, payload, key)
    return Operation.overwrite_payload_by_filter(filter_, payload, key)


def parse_delete_payload(given: Any, vectors: Vectors) -> Any:
    given = as_object(given, "request", "keys", "points", "filter", "shard_key")
    ids, filter_ = _selected(given)
    if filter_ is None:
        return Operation.delete_payload(ids, given.get("keys", []))
    return Operation.delete_payload_by_filter(filter_, given.get("keys", []))


def parse_clear_payload(given: Any, vectors: Vectors) -> Any:
    ids, filter_ = _selected(as_object(given, "request", "points", "filter", "shard_key"))
    return Operation.clear_payload(ids) if filter_ is None else Operation.clear_payload_by_filter(filter_)


def parse_update_vectors(given: Any, vectors: Vectors) -> Any:
    given = as_object(given, "request", "points", "shard_key", "update_filter")
    rows = [as_object(point, "point", "id", "vector") for point in given.get("points", [])]
    points = [edge.PointVectors(needed(row, "id"), vectors.parse(row.get("vector"))) for row in rows]
    return Operation.update_vectors(points, parse_filter(given.get("update_filter")))


def parse_delete_vectors(given: Any, vectors: Vectors) -> Any:
    given = as_object(given, "request", "points", "filter", "vector", "shard_key")
    ids, filter_ = _selected(given)
    if filter_ is None:
        return Operation.delete_vectors(ids, given.get("vector", []))
    return Operation.delete_vectors_by_filter(filter_, given.get("vector", []))


UPDATES: dict[str, Callable[[Any, Vectors], Any]] = {
    "upsert": parse_upsert,
    "delete": parse_delete,
    "set_payload": parse_set_payload,
    "overwrite_payload": parse_overwrite_payload,
    "delete_payload": parse_delete_payload,
    "clear_payload": parse_clear_payload,
    "update_vectors": parse_update_vectors,
    "delete_vectors": parse_delete_vectors,
}


def parse_batch(given: Any, vectors: Vectors) -> list[Any]:
    """Several updates, all parsed before the first is applied."""
    parsed = []
    for operation in as_object(given, "request", "operations").get("operations", []):
        if not isinstance(operation, dict) or len(operation) != 1 or not operation.keys() <= UPDATES.keys():
            raise bad_request(f"an operation must be one of {', '.join(UPDATES)}")
        [(kind, request)] = operation.items()
        parsed.append(UPDATES[kind](request, vectors))
    return parsed
