"""Qdrant's queries, from JSON to the engine's objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.filters import Json, as_list, as_object, needed, parse_condition, parse_filter
from memsched.embedded.vectors.validation import bad_request, unsupported

DEFAULT_LIMIT = 10  # Qdrant's
DEFAULT_RRF_K = 2  # Qdrant's
TEXT_KINDS = {"text", "model", "image", "object"}
VectorOf = Callable[[Any, str], Any]
"""The vector of a stored point: its id and the vector's name in, raises when there is none."""

_PREFETCH_FIELDS = ("prefetch", "query", "using", "filter", "params", "score_threshold", "limit", "lookup_from")
QUERY_FIELDS = (*_PREFETCH_FIELDS, "offset", "with_vector", "with_payload", "shard_key")


def parse_vector(given: Any) -> Any:
    """One named vector: dense, many dense, or sparse."""
    if isinstance(given, list):
        return given
    if not isinstance(given, dict):
        raise bad_request("a vector must be a list of numbers, or an object with indices and values")
    if given.keys() & TEXT_KINDS:
        raise unsupported("the embedding of texts or images")
    sparse = as_object(given, "sparse vector", "indices", "values")
    indices, values = sparse.get("indices"), sparse.get("values")
    if not isinstance(indices, list) or not isinstance(values, list) or len(indices) != len(values):
        raise bad_request("a sparse vector needs as many values as indices")
    if len(set(indices)) != len(indices):
        raise bad_request("the indices of a sparse vector must be unique")
    return edge.SparseVector(indices, values)


def parse_query(given: Any, vector_of: VectorOf) -> edge.QueryRequest:
    given = as_object(given, "query", *QUERY_FIELDS)
    limit = given.get("limit", DEFAULT_LIMIT)
    query, filter_ = _scoring(given, limit, vector_of)
    return edge.QueryRequest(
        limit=limit,
        offset=given.get("offset"),
        query=query,
        prefetches=_prefetches(given, vector_of),
        filter=filter_,
        score_threshold=given.get("score_threshold"),
        with_vector=given.get("with_vector", False),
        with_payload=payload_selector(given.get("with_payload", False)),
    )


def _prefetches(given: Json, vector_of: VectorOf) -> list[edge.Prefetch] | None:
    if "lookup_from" in given:
        raise unsupported("lookup_from")
    if "prefetch" not in given:
        return None
    found = []
    for each in as_list(given["prefetch"]):
        prefetch = as_object(each, "prefetch", *_PREFETCH_FIELDS)
        limit = prefetch.get("limit", DEFAULT_LIMIT)
        query, filter_ = _scoring(prefetch, limit, vector_of)
        found.append(
            edge.Prefetch(
                limit=limit,
                query=query,
                prefetches=_prefetches(prefetch, vector_of),
                filter=filter_,
                score_threshold=prefetch.get("score_threshold"),
            )
        )
    return found


def _scoring(given: Json, limit: int, vector_of: VectorOf) -> tuple[Any, edge.Filter | None]:
    """What to rank by, and what to rank. A point that is asked for its neighbours is none of them."""
    query, using = given.get("query"), given.get("using", "")
    filter_ = parse_filter(given.get("filter"))
    if query is None:
        return None, filter_
    mmr: Json | None = None
    if isinstance(query, dict):
        for kind, build in _RANKINGS.items():
            if kind in query:
                return build(query), filter_
        if "nearest" in query:
            near = as_object(query, "query", "nearest", "mmr")
            mmr = as_object(near["mmr"], "mmr", "diversity", "candidates_limit") if "mmr" in near else None
            query = near["nearest"]
    if isinstance(query, str | int):
        myself = edge.HasIdCondition({query})
        filter_ = edge.Filter(must=[filter_] if filter_ is not None else None, must_not=[myself])
        vector = vector_of(query, using)
    else:
        vector = parse_vector(query)
    if mmr is None:
        return edge.Query.Nearest(vector, using), filter_
    likeness = 1.0 - mmr.get("diversity", 0.5)
    return edge.Mmr(vector, likeness, mmr.get("candidates_limit", limit), using), filter_


def parse_order_by(given: Any) -> edge.OrderBy:
    if isinstance(given, str):
        return edge.OrderBy(given)
    order = as_object(given, "order_by", "key", "direction", "start_from")
    direction = {"asc": edge.Direction.Asc, "desc": edge.Direction.Desc}.get(order.get("direction", "asc"))
    return edge.OrderBy(needed(order, "key"), direction, order.get("start_from"))


def _fusion(given: Json) -> Any:
    kind = as_object(given, "query", "fusion")["fusion"]
    if kind == "rrf":
        return edge.Fusion.Rrf(DEFAULT_RRF_K)
    if kind == "dbsf":
        return edge.Fusion.Dbsf()
    raise bad_request(f"unknown fusion {kind}")


def _rrf(given: Json) -> Any:
    rrf = as_object(as_object(given, "query", "rrf")["rrf"], "rrf", "k", "weights")
    return edge.Fusion.Rrf(rrf.get("k", DEFAULT_RRF_K), rrf.get("weights"))


def _formula(given: Json) -> Any:
    formula = as_object(given, "query", "formula", "defaults")
    return edge.Formula(_expression(formula["formula"]), formula.get("defaults"))


def _sample(given: Json) -> Any:
    if as_object(given, "query", "sample")["sample"] != "random":
        raise bad_request("unknown sample")
    return edge.Sample.Random


def _not_supported(given: Json) -> Any:
    raise unsupported(f"the query {next(iter(given))}")


_RANKINGS: dict[str, Callable[[Json], Any]] = {
    "fusion": _fusion,
    "rrf": _rrf,
    "order_by": lambda given: parse_order_by(as_object(given, "query", "order_by")["order_by"]),
    "formula": _formula,
    "sample": _sample,
    **dict.fromkeys(("recommend", "discover", "context", "relevance_feedback"), _not_supported),
}


def _expression(given: Any) -> Any:
    if isinstance(given, str):
        return edge.Expression.Variable(given)
    if isinstance(given, int | float):
        return edge.Expression.Constant(given)
    if isinstance(given, dict) and len(given) == 1:
        [(kind, value)] = given.items()
        if kind in _OF_MANY:
            return _OF_MANY[kind]([_expression(part) for part in as_list(value)])
        if kind in _OF_ONE:
            return _OF_ONE[kind](_expression(value))
        if kind in _DECAYS:
            return _decay(_DECAYS[kind], value)
        if kind == "div":
            div = as_object(value, kind, "left", "right", "by_zero_default")
            left, right = _expression(div.get("left")), _expression(div.get("right"))
            return edge.Expression.Div(left, right, div.get("by_zero_default"))
        if kind == "pow":
            power = as_object(value, kind, "base", "exponent")
            return edge.Expression.Pow(_expression(power.get("base")), _expression(power.get("exponent")))
        if kind == "datetime":
            return edge.Expression.Datetime(value)
        if kind == "datetime_key":
            return edge.Expression.DatetimeKey(value)
        if kind == "geo_distance":
            raise unsupported("geo_distance in a formula")
    return edge.Expression.Condition(parse_condition(given))


_OF_MANY: dict[str, Any] = {
    "sum": edge.Expression.Sum,
    "mult": edge.Expression.Mult,
    "max": edge.Expression.Max,
    "min": edge.Expression.Min,
}
_OF_ONE: dict[str, Any] = {
    "neg": edge.Expression.Neg,
    "abs": edge.Expression.Abs,
    "sqrt": edge.Expression.Sqrt,
    "exp": edge.Expression.Exp,
    "log10": edge.Expression.Log10,
    "ln": edge.Expression.Ln,
}
_DECAYS: dict[str, Any] = {
    "exp_decay": edge.DecayKind.Exp,
    "gauss_decay": edge.DecayKind.Gauss,
    "lin_decay": edge.DecayKind.Lin,
}


def _decay(kind: Any, given: Any) -> Any:
    decay = as_object(given, "decay", "x", "target", "scale", "midpoint")
    target = _expression(decay["target"]) if "target" in decay else None
    return edge.Expression.Decay(kind, _expression(decay.get("x")), target, decay.get("midpoint"), decay.get("scale"))


def payload_selector(given: Any) -> Any:
    if not isinstance(given, dict):
        return False if given is None else given
    selector = as_object(given, "with_payload", "include", "exclude")
    if "include" in selector:
        return edge.PayloadSelector.Include(selector["include"])
    return edge.PayloadSelector.Exclude(selector.get("exclude", []))
