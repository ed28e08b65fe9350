"""What a collection is made of, from JSON to the engine's objects: vectors, and indexes of payload fields."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from memsched.embedded.vectors.filters import Json, as_object
from memsched.embedded.vectors.updates import Vectors
from memsched.embedded.vectors.validation import bad_request, unsupported

# What tunes a Qdrant server without changing its answers; taken, reported, and of no effect here.
TUNING = (
    "hnsw_config",
    "optimizers_config",
    "wal_config",
    "quantization_config",
    "strict_mode_config",
    "shard_number",
    "replication_factor",
    "write_consistency_factor",
    "on_disk_payload",
)
_COLLECTION_FIELDS = ("vectors", "sparse_vectors", "metadata", "sharding_method", *TUNING)
_DISTANCES = {name.lower(): getattr(edge.Distance, name) for name in ("Cosine", "Euclid", "Dot", "Manhattan")}
_DATATYPES = {
    name.lower(): getattr(edge.VectorStorageDatatype, name)
    for name in ("Float32", "Float16", "Uint8", "Turbo8", "Turbo16")
}
# No graph is ever built: that takes minutes, in which the engine answers nobody. It scans, which is exact. Only what
# was deleted is tidied away.
_NEVER_KB = 2**40


def parse_collection(given: Any) -> Json:
    """The request for a new collection, checked."""
    config = as_object(given, "collection", *_COLLECTION_FIELDS)
    if config.get("sharding_method", "auto") != "auto":
        raise unsupported("sharding by key")
    dense_vectors(config)
    return config


def dense_vectors(config: Json) -> dict[str, Json]:
    """Each dense vector's settings, by name. A collection with one vector calls it by the empty name."""
    vectors = config.get("vectors", {})
    if not isinstance(vectors, dict):
        raise bad_request("vectors must be an object")
    named = {"": vectors} if "size" in vectors else vectors
    fields = (
        "size",
        "distance",
        "datatype",
        "multivector_config",
        "hnsw_config",
        "quantization_config",
        "on_disk",
        "memory",
    )
    return {name: as_object(vector, f"vector {name}", *fields) for name, vector in named.items()}


def vectors_of(config: Json) -> Vectors:
    dense = {name: int(vector["size"]) for name, vector in dense_vectors(config).items()}
    return Vectors(dense, frozenset(config.get("sparse_vectors", {})))


def engine_config(config: Json) -> edge.EdgeConfig:
    dense = {name: _dense(name, vector) for name, vector in dense_vectors(config).items()}
    sparse = {name: _sparse(name, vector or {}) for name, vector in config.get("sparse_vectors", {}).items()}
    if not dense and not sparse:
        raise unsupported("a collection without vectors")
    optimizers = edge.EdgeOptimizersConfig(indexing_threshold=_NEVER_KB, default_segment_number=1)
    return edge.EdgeConfig(vectors=dense, sparse_vectors=sparse, optimizers=optimizers)


def _dense(name: str, vector: Json) -> edge.EdgeVectorParams:
    distance = _DISTANCES.get(str(vector.get("distance")).lower())
    size = vector.get("size")
    if distance is None or not isinstance(size, int) or not 1 <= size <= 65_536:
        raise bad_request(f"the vector {name} needs a size from 1 to 65536, and a distance")
    several = None
    if "multivector_config" in vector:
        several = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    datatype = _DATATYPES.get(str(vector.get("datatype", "float32")).lower())
    if datatype is None:
        raise unsupported(f"the datatype {vector['datatype']}")
    return edge.EdgeVectorParams(size, distance, multivector_config=several, datatype=datatype)


def _sparse(name: str, vector: Json) -> edge.EdgeSparseVectorParams:
    vector = as_object(vector, f"sparse vector {name}", "index", "modifier")
    modifier = vector.get("modifier", "none")
    if modifier not in ("none", "idf"):
        raise bad_request(f"unknown modifier {modifier}")
    return edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if modifier == "idf" else None)


_PLAIN = {
    name: getattr(edge.PayloadSchemaType, name.capitalize())
    for name in ("keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid")
}
_PARAMETERS: dict[str, Any] = {
    "keyword": edge.KeywordIndexParams,
    "integer": edge.IntegerIndexParams,
    "float": edge.FloatIndexParams,
    "geo": edge.GeoIndexParams,
    "bool": edge.BoolIndexParams,
    "datetime": edge.DatetimeIndexParams,
    "uuid": edge.UuidIndexParams,
    "text": edge.TextIndexParams,
}
_FLAGS = {"is_tenant", "is_principal", "lookup", "range", "prefix"}
_TEXT_FLAGS = {"min_token_len", "max_token_len", "lowercase", "ascii_folding", "phrase_matching"}
_WITHOUT_EFFECT = {"type", "on_disk", "enable_hnsw", "memory"}
_TOKENIZERS = {name.lower(): getattr(edge.TokenizerType, name) for name in ("Word", "Whitespace", "Prefix")}


def parse_index(given: Any) -> tuple[str, Any]:
    """The name of the field, and the engine's index for it."""
    given = as_object(given, "request", "field_name", "field_schema")
    field, schema = given.get("field_name"), given.get("field_schema")
    if not isinstance(field, str):
        raise bad_request("field_name must be a string")
    if isinstance(schema, str) and schema in _PLAIN:
        return field, _PLAIN[schema]
    if not isinstance(schema, dict) or schema.get("type") not in _PARAMETERS:
        raise unsupported(f"the index schema {schema}")
    kind = schema["type"]
    parameters = {name: value for name, value in schema.items() if name not in _WITHOUT_EFFECT and value is not None}
    if kind == "text" and "tokenizer" in parameters:
        tokenizer = _TOKENIZERS.get(parameters["tokenizer"])
        if tokenizer is None:
            raise unsupported(f"the tokenizer {parameters['tokenizer']}")
        parameters["tokenizer"] = tokenizer
    known = _FLAGS if kind != "text" else _TEXT_FLAGS | {"tokenizer"}
    if not parameters.keys() <= known:
        raise unsupported(f"the {kind} index setting {', '.join(sorted(parameters.keys() - known))}")
    return field, _PARAMETERS[kind](**parameters)


def payload_schema(info: edge.ShardInfo) -> Json:
    """The indexes of a collection, as Qdrant reports them."""
    return {field: _index_info(index) for field, index in info.payload_schema.items()}


def _index_info(index: edge.PayloadIndexInfo) -> Json:
    kind = next(name for name, plain in _PLAIN.items() if plain == index.data_type)
    answer: Json = {"data_type": kind, "points": index.points}
    if index.params is not None:
        flags = _FLAGS if kind != "text" else _TEXT_FLAGS
        answer["params"] = {"type": kind} | {
            flag: value for flag in sorted(flags) if (value := getattr(index.params, flag, None)) is not None
        }
        if isinstance(index.params, edge.TextIndexParams):
            tokenizer = index.params.tokenizer
            answer["params"]["tokenizer"] = next(name for name, each in _TOKENIZERS.items() if each == tokenizer)
    return answer
