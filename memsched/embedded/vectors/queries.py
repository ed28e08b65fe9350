"""Queries, from JSON to the engine's objects: nearest neighbours of one vector, and pages of points."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.filters import parse_filter
from memsched.embedded.vectors.validation import as_object, bad_request, required, unsupported

DEFAULT_LIMIT = 10  # Qdrant's


def parse_vector(given: Any, what: str) -> Any:
    """One vector, dense or sparse. Dense ones are not looked into here."""
    if isinstance(given, list):
        return given
    if not isinstance(given, dict):
        raise bad_request(f"{what} must be a list of numbers, or an object with indices and values")
    sparse = as_object(given, what, "indices", "values")
    indices, values = sparse.get("indices"), sparse.get("values")
    if not isinstance(indices, list) or not isinstance(values, list) or len(indices) != len(values):
        raise bad_request("a sparse vector needs as many values as indices")
    if len(set(indices)) != len(indices):
        raise bad_request("the indices of a sparse vector must be unique")
    return edge.SparseVector(indices, values)


def parse_query(given: Any) -> edge.QueryRequest:
    """Without the payloads, which come out of the cache."""
    given = as_object(given, "query", "query", "using", "filter", "limit", "with_payload", "with_vector")
    if given.get("with_payload") is not True or given.get("with_vector"):
        raise unsupported("a query without with_payload: true, or with vectors")
    query = required(given, "query")
    if isinstance(query, dict) and "nearest" in query:
        query = required(as_object(query, "query", "nearest"), "nearest")
    if isinstance(query, str | int):
        raise unsupported("a query by the id of a point")
    return edge.QueryRequest(
        limit=given.get("limit", DEFAULT_LIMIT),
        query=edge.Query.Nearest(parse_vector(query, "query"), required(given, "using")),
        filter=parse_filter(given.get("filter")),
        with_vector=False,
        with_payload=False,
    )


def parse_scroll(given: Any) -> edge.ScrollRequest:
    given = as_object(given, "request", "offset", "limit", "filter", "with_payload", "with_vector", "order_by")
    order_by = parse_order_by(given["order_by"]) if "order_by" in given else None
    if order_by is not None and "offset" in given:
        raise bad_request("Cannot use offset with order_by")
    return edge.ScrollRequest(
        offset=given.get("offset"),
        limit=given.get("limit", DEFAULT_LIMIT),
        filter=parse_filter(given.get("filter")),
        with_payload=payload_selector(given.get("with_payload", True)),
        with_vector=given.get("with_vector", False),
        order_by=order_by,
    )


def parse_order_by(given: Any) -> edge.OrderBy:
    order = as_object(given, "order_by", "key", "direction")
    directions = {"asc": edge.Direction.Asc, "desc": edge.Direction.Desc}
    if (direction := order.get("direction", "asc")) not in directions:
        raise bad_request(f"direction must be asc or desc, not {direction!r:.20}")
    return edge.OrderBy(required(order, "key"), directions[direction])


def payload_selector(given: Any) -> bool | list[str]:
    """All fields, none, or those named."""
    if not isinstance(given, bool | list):
        raise unsupported("with_payload other than true, false or names of fields")
    return given
