"""Shard: the points of one collection in Qdrant's engine, and what Qdrant answers about them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.filters import parse_filter
from memsched.embedded.vectors.payload_cache import PayloadCache
from memsched.embedded.vectors.queries import parse_query, parse_scroll, payload_selector
from memsched.embedded.vectors.schema import engine_config, parse_index, payload_schema, vectors_of
from memsched.embedded.vectors.updates import Operation, parse_batch, parse_delete, parse_upsert
from memsched.embedded.vectors.validation import Json, RequestError, as_object, is_of_engine, required


class Shard:
    """A collection's only shard, opened at its first use: one that is damaged is in no other's way.

    An update is acknowledged when it is in the engine's log: it survives the end of this process in whatever way.
    `flush` makes it survive the end of the machine.
    """

    def __init__(self, name: str, folder: str, config: Json) -> None:
        self.name = name
        self.folder = folder
        self.config = config
        self.vectors = vectors_of(config)
        self.unflushed = False
        self.needs_vacuum = False
        self._engine: edge.EdgeShard | None = None
        self._operations = 0
        self._payloads = PayloadCache()

    def create(self) -> None:
        self._engine = edge.EdgeShard.create(self.folder, engine_config(self.config))
        self._engine.flush()

    @property
    def engine(self) -> edge.EdgeShard:
        if self._engine is None:
            try:
                self._engine = edge.EdgeShard.load(self.folder)
            except BaseException as error:  # a panic of the engine is no Exception
                if not is_of_engine(error):
                    raise
                raise RequestError(
                    500,
                    f"Service internal error: the collection {self.name} cannot be opened: {error}. Its folder "
                    f"{os.path.abspath(self.folder)} is damaged: restore it from a backup, or delete the collection.",
                ) from error
        return self._engine

    def flush(self) -> None:
        if self._engine is not None and self.unflushed:
            self._engine.flush()
        self.unflushed = False

    def vacuum(self) -> bool:
        """Take away what was deleted, if it is much; whether it was.

        Blocks: about 40 ms for every 1,000 points that stay.
        """
        self.needs_vacuum = False
        return self._engine is not None and bool(self._engine.optimize())

    def close(self) -> None:
        if self._engine is not None:
            self.flush()
            self._engine.close()
            self._engine = None

    def discard(self) -> None:
        """Forget what is in memory: after a panic of the engine it cannot be trusted. The next use reads the disk."""
        engine, self._engine = self._engine, None
        self._payloads.clear()
        try:
            if engine is not None:
                engine.close()
        except BaseException as error:
            if not is_of_engine(error):
                raise

    # What is written

    def upsert(self, body: Any) -> Json:
        return self._apply(parse_upsert(body, self.vectors))

    def delete(self, body: Any) -> Json:
        return self._apply(parse_delete(body))

    def batch_update(self, body: Any) -> list[Json]:
        return [self._apply(operation) for operation in parse_batch(body, self.vectors)]

    def create_index(self, body: Any) -> Json:
        field, schema = parse_index(body)
        return self._apply(Operation.create_field_index(field, schema))

    def _apply(self, operation: Any) -> Json:
        engine = self.engine
        self.unflushed = self.needs_vacuum = True
        engine.update(operation)
        self._operations += 1
        return {"operation_id": self._operations, "status": "completed"}

    # What is read

    def info(self) -> Json:
        info = self.engine.info()
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
        return self._query(parse_query(body))

    def query_batch(self, body: Any) -> bytes:
        searches = required(as_object(body, "request", "searches"), "searches")
        requests = [parse_query(search) for search in searches]
        return b"[%b]" % b",".join(self._query(request) for request in requests)

    def _query(self, request: edge.QueryRequest) -> bytes:
        points = self.engine.query(request)
        return self._payloads.write(points, lambda ids: self.engine.retrieve(ids, True, False))

    def retrieve(self, body: Any) -> list[Json]:
        body = as_object(body, "request", "ids", "with_payload", "with_vector")
        with_vector = body.get("with_vector", False)
        selector = payload_selector(body.get("with_payload", True))
        records = self.engine.retrieve(required(body, "ids"), selector, with_vector)
        return _records(records, bool(with_vector))

    def scroll(self, body: Any) -> Json:
        records, next_offset = self.engine.scroll(parse_scroll(body))
        return {"points": _records(records, bool(body.get("with_vector"))), "next_page_offset": next_offset}

    def count(self, body: Any) -> Json:
        """Exactly, also where an estimate is asked for."""
        body = as_object(body, "request", "filter", "exact")
        return {"count": self.engine.count(edge.CountRequest(True, parse_filter(body.get("filter"))))}


def _records(records: Sequence[edge.Record], with_vector: bool) -> list[Json]:
    answer = []
    for record in records:
        shown: Json = {"id": record.id}
        if (payload := record.payload) is not None:
            shown["payload"] = payload
        if with_vector and record.vector is not None:
            named: Any = record.vector
            shown["vector"] = {name: _vector(vector) for name, vector in named.items()}
        if (order_value := record.order_value) is not None:
            shown["order_value"] = order_value
        answer.append(shown)
    return answer


def _vector(vector: Any) -> Any:
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return vector
