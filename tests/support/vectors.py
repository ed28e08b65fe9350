"""Both kinds of vector store that tests can have: the client's own, and the vector process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qdrant_client import AsyncQdrantClient, models

from memsched.embedded.vector_server import vector_client_options

DIMENSIONS = 4
VECTORS: dict[str, Any] = {
    "vectors_config": {"dense": models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)},
    "sparse_vectors_config": {"lexical": models.SparseVectorParams()},
}
KINDS = ("in_process", "vector_process")


def client_of(socket_path: str) -> AsyncQdrantClient:
    return AsyncQdrantClient(**vector_client_options(socket_path))


def point(number: int, /, **payload: Any) -> models.PointStruct:
    """Its dense vector turns away from (1, 0, 0, 0) with the number; its lexical one has word 1, and one of its own."""
    return models.PointStruct(
        id=number,
        vector={
            "dense": [1.0, number / 10, 0.0, 0.0],
            "lexical": models.SparseVector(indices=[1, 100 + number], values=[1.0 + number, 1.0]),
        },
        payload=payload,
    )


def field(key: str, value: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def must(*conditions: Any) -> models.Filter:
    return models.Filter(must=list(conditions))


def log_of(folder: Path) -> str:
    return (folder / "vectors" / "server.log").read_text()
