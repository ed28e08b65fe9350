"""Schema of a collection, from JSON to the engine's objects: its vectors, and the indexes of payload fields."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.updates import Vectors
from memsched.embedded.vectors.validation import Json, as_object, bad_request, required, unsupported

_DATATYPES = {
    "float32": edge.VectorStorageDatatype.Float32,
    "float16": edge.VectorStorageDatatype.Float16,  # what memsched asks of whatever stands behind http://
    "turbo8": edge.VectorStorageDatatype.Turbo8,
}
_INDEXES = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
}
# No graph is ever built: that takes minutes, in which the engine answers nobody. It scans, which is exact. Only what
# was deleted is tidied away. So hnsw_config, which tunes a Qdrant server, is taken and has no effect here.
_NEVER_KB = 2**40


def parse_collection(given: Any) -> Json:
    """The request for a new collection, checked."""
    config = as_object(given, "collection", "vectors", "sparse_vectors", "metadata", "hnsw_config")
    engine_config(config)
    return config


def vectors_of(config: Json) -> Vectors:
    dense = {name: int(vector["size"]) for name, vector in _dense_vectors(config).items()}
    return Vectors(dense, frozenset(config.get("sparse_vectors", {})))


def engine_config(config: Json) -> edge.EdgeConfig:
    dense = {name: _dense(name, vector) for name, vector in _dense_vectors(config).items()}
    for name, vector in config.get("sparse_vectors", {}).items():
        as_object(vector or {}, f"sparse vector {name}")  # no settings
    sparse = {name: edge.EdgeSparseVectorParams() for name in config.get("sparse_vectors", {})}
    optimizers = edge.EdgeOptimizersConfig(indexing_threshold=_NEVER_KB, default_segment_number=1)
    return edge.EdgeConfig(vectors=dense, sparse_vectors=sparse, optimizers=optimizers)


def _dense_vectors(config: Json) -> dict[str, Json]:
    """The settings of each dense vector, by name."""
    vectors = config.get("vectors")
    if not isinstance(vectors, dict) or not vectors:
        raise bad_request("vectors must be an object of named vectors")
    return {
        name: as_object(vector, f"vector {name}", "size", "distance", "datatype") for name, vector in vectors.items()
    }


def _dense(name: str, vector: Json) -> edge.EdgeVectorParams:
    size = required(vector, "size")
    if not isinstance(size, int) or not 1 <= size <= 65_536:
        raise bad_request(f"the vector {name} needs a size from 1 to 65536")
    if required(vector, "distance") != "Cosine":
        raise unsupported(f"the distance {vector['distance']}")
    datatype = _DATATYPES.get(vector.get("datatype", "float32"))
    if datatype is None:
        raise unsupported(f"the datatype {vector['datatype']}")
    return edge.EdgeVectorParams(size, edge.Distance.Cosine, datatype=datatype)


def parse_index(given: Any) -> tuple[str, Any]:
    """The name of the field, and the engine's index for it."""
    given = as_object(given, "request", "field_name", "field_schema")
    field, schema = required(given, "field_name"), required(given, "field_schema")
    if isinstance(schema, dict) and schema.get("type") == "keyword":
        settings = as_object(schema, "keyword index", "type", "is_tenant")
        return field, edge.KeywordIndexParams(is_tenant=settings.get("is_tenant"))
    if not isinstance(schema, str) or schema not in _INDEXES:
        raise unsupported(f"the index {schema}")
    return field, _INDEXES[schema]


def payload_schema(info: edge.ShardInfo) -> Json:
    """The indexes of a collection, as Qdrant reports them."""
    schema: Json = {}
    for field, index in info.payload_schema.items():
        for kind, plain in _INDEXES.items():
            if plain == index.data_type:
                schema[field] = {"data_type": kind, "points": index.points}
        if isinstance(index.params, edge.KeywordIndexParams):
            schema[field]["params"] = {"type": "keyword", "is_tenant": index.params.is_tenant}
    return schema
