"""One collection: a shard of the engine, and what Qdrant answers about its points."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge
from pydantic_core import to_json

from memsched.embedded.vectors.filters import Json, as_list, as_object, parse_filter
from memsched.embedded.vectors.payload_cache import Payloads
from memsched.embedded.vectors.queries import QUERY_FIELDS, parse_order_by, parse_query, payload_selector
from memsched.embedded.vectors.schema import engine_config, parse_index, payload_schema, vectors_of
from memsched.embedded.vectors.updates import UPDATES, Operation, parse_batch
from memsched.embedded.vectors.validation import RequestError, bad_request, of_engine

DEFAULT_SCROLL_LIMIT = 10  # Qdrant's
DEFAULT_FACET_LIMIT = 10  # Qdrant's


class Collection:
    """Opened at its first use: one that is damaged is in no other's way.

    An update is acknowledged when it is in the engine's log: it survives the end of this process in whatever way.
    `flush` makes it survive the end of the machine.
    """

    def __init__(self, name: str, folder: str, config: Json) -> None:
        self.name = name
        self.folder = folder
        self.config = config
        self.vectors = vectors_of(config)
        self.unflushed = False
        self.untidied = False
        self._shard: edge.EdgeShard | None = None
        self._operations = 0
        self._payloads = Payloads()

    def create(self) -> None:
        self._shard = edge.EdgeShard.create(self.folder, engine_config(self.config))
        self._shard.flush()

    @property
    def shard(self) -> edge.EdgeShard:
        if self._shard is None:
            try:
                self._shard = edge.EdgeShard.load(self.folder)
            except BaseException as error:  # a panic of the engine is no Exception
                if not of_the_engine(error):
                    raise
                raise RequestError(
                    500,
                    f"Service internal error: the collection {self.name} cannot be opened: {error}. Its folder "
                    f"{os.path.abspath(self.folder)} is damaged: restore it from a backup, or delete the collection.",
                ) from error
        return self._shard

    def flush(self) -> None:
        if self._shard is not None and self.unflushed:
            self._shard.flush()
        self.unflushed = False

    def tidy(self) -> bool:
        """Take away what was deleted, if it is much. Blocks: about 40 ms for every 1,000 points that stay."""
        self.untidied = False
        return self._shard is not None and bool(self._shard.optimize())

    def close(self) -> None:
        if self._shard is not None:
            self.flush()
            self._shard.close()
            self._shard = None

    def give_up(self) -> None:
        """After a panic of the engine nothing in memory is to be trusted: the next use reads the disk."""
        shard, self._shard = self._shard, None
        self._payloads.clear()
        try:
            if shard is not None:
                shard.close()
        except BaseException as error:
            if not of_the_engine(error):
                raise

    # What is written

    def update(self, kind: str, body: Any) -> Json:
        return self._apply(UPDATES[kind](body, self.vectors))

    def batch_update(self, body: Any) -> list[Json]:
        return [self._apply(operation) for operation in parse_batch(body, self.vectors)]

    def create_index(self, body: Any) -> Json:
        field, schema = parse_index(body)
        return self._apply(Operation.create_field_index(field, schema))

    def delete_index(self, field: str) -> Json:
        return self._apply(Operation.delete_field_index(field))

    def _apply(self, operation: Any) -> Json:
        shard = self.shard
        self.unflushed = self.untidied = True
        shard.update(operation)
        self._operations += 1
        return {"operation_id": self._operations, "status": "completed"}

    # What is read

    def info(self) -> Json:
        info = self.shard.info()
        config = self.config
        parameters = {
            "vectors": config.get("vectors", {}),
            "shard_number": 1,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": True,
        }
        if "sparse_vectors" in config:
            parameters["sparse_vectors"] = config["sparse_vectors"]
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": info.points_count,
            "indexed_vectors_count": 0,
            "segments_count": info.segments_count,
            "config": {
                "params": parameters,
                "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 10_000},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 1,
                    "flush_interval_sec": 1,
                },
                "metadata": config.get("metadata"),
            },
            "payload_schema": payload_schema(info),
        }

    def query(self, body: Any) -> bytes:
        return self._query(self._prepared(body))

    def query_batch(self, body: Any) -> bytes:
        searches = as_object(body, "request", "searches").get("searches", [])
        prepared = [self._prepared(search) for search in searches]
        return b"[%b]" % b",".join(self._query(each) for each in prepared)

    def _prepared(self, body: Any) -> tuple[edge.QueryRequest, bool, bool]:
        """The request; whether to add the payloads, because all of each is wanted; whether to show vectors."""
        as_object(body, "query", *QUERY_FIELDS)
        with_vector = bool(body.get("with_vector"))
        from_cache = body.get("with_payload") is True and not with_vector and not _is_order(body.get("query"))
        if from_cache:
            body = {**body, "with_payload": False}
        return parse_query(body, self._vector_of), from_cache, with_vector

    def _query(self, prepared: tuple[edge.QueryRequest, bool, bool]) -> bytes:
        request, from_cache, with_vector = prepared
        points = self.shard.query(request)
        if from_cache:
            return self._payloads.write(points, lambda ids: self.shard.retrieve(ids, True, False))
        return to_json({"points": _scored(points, with_vector)})

    def retrieve(self, body: Any) -> list[Json]:
        body = as_object(body, "request", "ids", "with_payload", "with_vector", "shard_key")
        with_vector = body.get("with_vector", False)
        selector = payload_selector(body.get("with_payload", True))
        records = self.shard.retrieve(as_list(body.get("ids")), selector, with_vector)
        return _records(records, bool(with_vector))

    def scroll(self, body: Any) -> Json:
        fields = ("offset", "limit", "filter", "with_payload", "with_vector", "order_by", "shard_key")
        body = as_object(body, "request", *fields)
        with_vector = body.get("with_vector", False)
        order_by = parse_order_by(body["order_by"]) if "order_by" in body else None
        if order_by is not None and "offset" in body:
            raise bad_request("Cannot use offset with order_by. Use order_by.start_from instead")
        request = edge.ScrollRequest(
            offset=body.get("offset"),
            limit=body.get("limit", DEFAULT_SCROLL_LIMIT),
            filter=parse_filter(body.get("filter")),
            with_payload=payload_selector(body.get("with_payload", True)),
            with_vector=with_vector,
            order_by=order_by,
        )
        records, next_offset = self.shard.scroll(request)
        return {"points": _records(records, bool(with_vector)), "next_page_offset": next_offset}

    def count(self, body: Any) -> Json:
        body = as_object(body, "request", "filter", "exact", "shard_key")
        request = edge.CountRequest(body.get("exact", True), parse_filter(body.get("filter")))
        return {"count": self.shard.count(request)}

    def facet(self, body: Any) -> Json:
        body = as_object(body, "request", "key", "limit", "filter", "exact", "shard_key")
        limit = body.get("limit", DEFAULT_FACET_LIMIT)
        request = edge.FacetRequest(body.get("key"), limit, body.get("exact", False), parse_filter(body.get("filter")))
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in self.shard.facet(request)]}

    def _vector_of(self, point: Any, using: str) -> Any:
        found = self.shard.retrieve([point], False, [using] if using else True)
        if not found:
            raise of_engine(Exception(f"No point with id {point}"))
        vector: Any = found[0].vector
        if isinstance(vector, dict):
            vector = vector.get(using)
        if vector is None:
            raise bad_request(f"the point {point} has no vector {using}")
        return vector


def of_the_engine(error: BaseException) -> bool:
    """An error, or a panic: the engine's bug, as Python sees it: a class of its own, below BaseException."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _is_order(query: Any) -> bool:
    """Such points come with the value that ordered them."""
    return isinstance(query, dict) and "order_by" in query


def _scored(points: list[edge.ScoredPoint], with_vector: bool) -> list[Json]:
    answer = []
    for point, shown in zip(points, _records(points, with_vector), strict=True):
        answer.append({"id": point.id, "version": point.version, "score": point.score} | shown)
    return answer


def _records(records: Sequence[edge.Record | edge.ScoredPoint], with_vector: bool) -> list[Json]:
    answer = []
    for record in records:
        shown: Json = {"id": record.id}
        if (payload := record.payload) is not None:
            shown["payload"] = payload
        if with_vector and (vector := record.vector) is not None:
            shown["vector"] = _vector(vector)
        if (order_value := record.order_value) is not None:
            shown["order_value"] = order_value
        answer.append(shown)
    return answer


def _vector(vector: Any) -> Any:
    if isinstance(vector, dict):
        return {name: _vector(each) for name, each in vector.items()}
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return vector
