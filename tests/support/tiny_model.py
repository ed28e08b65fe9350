"""A tiny sentence encoder with random weights, in an ONNX folder as real ones come in, and what it must compute."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "max", "loves", "peanut", "butter", "we", "live", "in", "rome", "##s"]
DIMENSIONS, LONGEST = 8, 16
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


def write_model(
    folder: Path,
    *,
    file: str = "model.onnx",
    dtype: Any = np.float32,
    seed: int = 1,
    inputs: Sequence[str] = INPUTS,
    **config: Any,
) -> Path:
    """The folder with config, tokenizer and model. inputs: what the model says that it takes."""
    shutil.rmtree(folder, ignore_errors=True)
    path = folder / file
    path.parent.mkdir(parents=True)
    path.write_bytes(_model({name: rows.astype(dtype) for name, rows in _tables(seed).items()}, inputs))
    (folder / "config.json").write_text(
        json.dumps({"hidden_size": DIMENSIONS, "max_position_embeddings": LONGEST} | config)
    )
    _tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def expected_vector(ids: Sequence[int], *, cls: bool = False, seed: int = 1) -> list[float]:
    """What the model gives for one text: each token's own vector and the mean of all, pooled, of length 1."""
    tables = _tables(seed)
    rows = np.array([tables["words"][each] + tables["places"][at] + tables["kinds"][0] for at, each in enumerate(ids)])
    states = rows + rows.mean(axis=0)
    pooled = (states[0] if cls else states.mean(axis=0)).tolist()
    length = math.sqrt(sum(value * value for value in pooled))
    return [value / length for value in pooled]


def _tables(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    sizes = {"words": len(WORDS), "places": LONGEST, "kinds": 2}
    return {name: random.normal(0, 0.5, (size, DIMENSIONS)).astype(np.float32) for name, size in sizes.items()}


def _tokenizer() -> Any:
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


# The model's file, in the words of onnx.proto3. Its library is large, and this is all that is needed of it.

_KINDS = {"float32": 1, "float16": 10, "int64": 7}


def _model(tables: dict[str, Any], inputs: Sequence[str]) -> bytes:
    kind = _KINDS[str(tables["words"].dtype)]
    nodes = [
        _node("Gather", ["words", "input_ids"], "of_words"),
        _node("Gather", ["places", "position_ids"], "of_places"),
        _node("Gather", ["kinds", "token_type_ids"], "of_kinds"),
        _node("Add", ["of_words", "of_places"], "placed"),
        _node("Add", ["placed", "of_kinds"], "rows"),
        _node("Cast", ["attention_mask"], "flat_mask", to=kind),
        _node("Unsqueeze", ["flat_mask", "last"], "mask"),
        _node("Mul", ["rows", "mask"], "seen"),
        _node("ReduceSum", ["seen", "tokens"], "sum"),
        _node("ReduceSum", ["mask", "tokens"], "count"),
        _node("Div", ["sum", "count"], "mean"),
        _node("Add", ["rows", "mean"], "last_hidden_state"),
    ]
    constants = {**tables, "last": np.array([2], np.int64), "tokens": np.array([1], np.int64)}
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"tiny"),
            *(_field(5, _tensor(name, value)) for name, value in constants.items()),
            *(_field(11, _value(name, _KINDS["int64"], "texts", "tokens")) for name in inputs),
            _field(12, _value("last_hidden_state", kind, "texts", "tokens", "size")),
        ]
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 17))


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    given = b"".join(_field(1, name.encode()) for name in inputs)
    options = (
        _field(5, _field(1, name.encode()) + _field(3, value) + _field(20, 2)) for name, value in attributes.items()
    )
    return given + _field(2, output.encode()) + _field(4, operator.encode()) + b"".join(options)


def _tensor(name: str, value: Any) -> bytes:
    shape = b"".join(_field(1, size) for size in value.shape)
    return shape + _field(2, _KINDS[str(value.dtype)]) + _field(8, name.encode()) + _field(9, value.tobytes())


def _value(name: str, kind: int, *axes: str) -> bytes:
    shape = b"".join(_field(1, _field(2, axis.encode())) for axis in axes)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, kind) + _field(2, shape)))


def _field(number: int, value: int | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
