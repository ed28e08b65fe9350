"""A tiny sentence encoder with random weights, in the form in which real ones come, and what it must compute."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "max", "loves", "peanut", "butter", "we", "live", "in", "rome", "##s"]
HIDDEN, LAYERS, HEADS, INNER, LONGEST = 8, 2, 2, 16, 16


def write_model(folder: Path, *, prefix: str = "", dtype: Any = np.float32, seed: int = 1, **config: Any) -> Path:
    """The folder with config, tokenizer and safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": (LONGEST, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part, (rows, columns) in {
            "attention.self.query": (HIDDEN, HIDDEN),
            "attention.self.key": (HIDDEN, HIDDEN),
            "attention.self.value": (HIDDEN, HIDDEN),
            "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (INNER, HIDDEN),
            "output.dense": (HIDDEN, INNER),
        }.items():
            shapes[f"{layer}.{part}.weight"] = (rows, columns)
            shapes[f"{layer}.{part}.bias"] = (rows,)
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{layer}.{part}.weight"] = shapes[f"{layer}.{part}.bias"] = (HIDDEN,)
    weights = {prefix + name: random.normal(0, 0.5, shape).astype(dtype) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")
    settings = {
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": LONGEST,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    } | config
    (folder / "config.json").write_text(json.dumps(settings))
    _tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def expected_vector(folder: Path, ids: list[int], *, cls: bool = False) -> list[float]:
    """What the model gives for one text, computed number by number."""
    from safetensors.numpy import load_file

    weights = {
        name.removeprefix("bert."): value.tolist() for name, value in load_file(folder / "model.safetensors").items()
    }
    states = [
        [
            weights["embeddings.word_embeddings.weight"][token][i]
            + weights["embeddings.position_embeddings.weight"][place][i]
            + weights["embeddings.token_type_embeddings.weight"][0][i]
            for i in range(HIDDEN)
        ]
        for place, token in enumerate(ids)
    ]
    states = [_norm(state, weights, "embeddings.LayerNorm") for state in states]
    for number in range(LAYERS):
        states = _layer(states, weights, f"encoder.layer.{number}")
    pooled = states[0] if cls else [sum(state[i] for state in states) / len(states) for i in range(HIDDEN)]
    length = math.sqrt(sum(value * value for value in pooled))
    return [value / length for value in pooled]


def _layer(states: list[list[float]], weights: dict[str, Any], layer: str) -> list[list[float]]:
    queries, keys, values = (
        [_linear(state, weights, f"{layer}.attention.self.{name}") for state in states]
        for name in ("query", "key", "value")
    )
    width = HIDDEN // HEADS
    result = []
    for here, state in enumerate(states):
        joined: list[float] = []
        for head in range(HEADS):
            part = range(head * width, (head + 1) * width)
            scores = [
                sum(queries[here][i] * keys[there][i] for i in part) / math.sqrt(width) for there in range(len(states))
            ]
            shares = [math.exp(score) for score in scores]
            total = sum(shares)
            joined += [sum(share / total * values[there][i] for there, share in enumerate(shares)) for i in part]
        attended = _linear(joined, weights, f"{layer}.attention.output.dense")
        middle = _norm(
            [a + b for a, b in zip(state, attended, strict=True)], weights, f"{layer}.attention.output.LayerNorm"
        )
        inner = [
            0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in _linear(middle, weights, f"{layer}.intermediate.dense")
        ]
        out = _linear(inner, weights, f"{layer}.output.dense")
        result.append(_norm([a + b for a, b in zip(middle, out, strict=True)], weights, f"{layer}.output.LayerNorm"))
    return result


def _linear(state: list[float], weights: dict[str, Any], name: str) -> list[float]:
    rows, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return [sum(w * x for w, x in zip(row, state, strict=True)) + b for row, b in zip(rows, bias, strict=True)]


def _norm(state: list[float], weights: dict[str, Any], name: str) -> list[float]:
    mean = sum(state) / len(state)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in state) / len(state) + 1e-12)
    return [
        (x - mean) / deviation * w + b
        for x, w, b in zip(state, weights[f"{name}.weight"], weights[f"{name}.bias"], strict=True)
    ]
