"""A language model with random weights in a GGUF file, and adapters for it: made in a second, nothing downloaded.

It is a llama by its architecture, with a tokenizer of bytes and a few pairs, and a chat template. What it says has no
sense; what a model server does with it (templates, prefix caches, slots, adapters) is what it does with any model.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
_CONTROL = ("<|start|>", "<|end|>", "<|pad|>")
_PAIRS = "Ġ t|h e|i n|Ġ a|r e|o n|Ġ s|e r|o u|Ġt he|a n|e n|i s|o r|Ġ w|i t|Ġ o|Ġ b|in g|e d|Ġ m|Ġ i|a l|e s|Ġ f|Ġ p"
_SYLLABLES = [f"{consonant} {vowel}" for consonant in "bdfgklmnprstv" for vowel in "aeiou"]
"""Merges of the tokenizer; Ġ is a space. The syllables are those of the benchmarks' made-up words."""
_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a model is; the usual one has two layers and reads thousands of tokens a second on one core."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 128
    context: int = 8192

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * self.kv_heads


def write_model(path: Path, shape: Shape | None = None, *, seed: int = 0, template: str = TEMPLATE) -> Path:
    """Write a model; the same bytes for the same arguments."""
    shape = shape or Shape()
    tokens, merges = _vocabulary()
    kinds = [3 if token in _CONTROL else 1 for token in tokens]
    facts = {
        "general.architecture": "llama",
        "general.name": f"random {seed}",
        "general.file_type": 0,
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.width,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": shape.width // shape.heads,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": len(tokens) - 3,
        "tokenizer.ggml.eos_token_id": len(tokens) - 2,
        "tokenizer.ggml.padding_token_id": len(tokens) - 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": template,
    }
    random = np.random.default_rng(seed)
    tensors = {name: _weights(random, size) for name, size in _sizes(shape, len(tokens)).items()}
    path.write_bytes(_file(facts, tensors))
    return path


def write_adapter(path: Path, shape: Shape | None = None, *, rank: int = 4, seed: int = 1, weight: float = 1.0) -> Path:
    """Write a LoRA adapter for a model of this shape, strong enough to change what it says."""
    shape = shape or Shape()
    facts = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
    }
    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for layer in range(shape.layers):
        for part, rows in (("attn_q", shape.width), ("attn_v", shape.kv_width)):
            name = f"blk.{layer}.{part}.weight"
            tensors[f"{name}.lora_a"] = weight * random.standard_normal((rank, shape.width), np.float32)
            tensors[f"{name}.lora_b"] = weight * random.standard_normal((rows, rank), np.float32)
    path.write_bytes(_file(facts, tensors))
    return path


def _vocabulary() -> tuple[list[str], list[str]]:
    """Tokens in order, and merges, in the letters that stand for bytes in such files."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}
    merges = [*_PAIRS.split("|"), *_SYLLABLES, *(f"Ġ {each.replace(' ', '')}" for each in _SYLLABLES)]
    merges = list(dict.fromkeys(merges))
    return [*(letters[byte] for byte in range(256)), *(pair.replace(" ", "") for pair in merges), *_CONTROL], merges


def _sizes(shape: Shape, tokens: int) -> dict[str, tuple[int, ...]]:
    width, kv_width, inner = shape.width, shape.kv_width, shape.feed_forward
    sizes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (tokens, width),
        "output_norm.weight": (width,),
        "output.weight": (tokens, width),
    }
    of_layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (width,),
        "attn_q": (width, width),
        "attn_k": (kv_width, width),
        "attn_v": (kv_width, width),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_gate": (inner, width),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
    }
    for layer in range(shape.layers):
        sizes |= {f"blk.{layer}.{name}.weight": size for name, size in of_layer.items()}
    return sizes


def _weights(random: Any, size: tuple[int, ...]) -> Any:
    if len(size) == 1:
        return np.ones(size, np.float32)
    return random.standard_normal(size, np.float32) / np.float32(np.sqrt(size[-1]))


# The file, as https://github.com/ggml-org/ggml/blob/master/docs/gguf.md describes it (version 3).


class _Bytes:
    """Bytes as they are being written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def number(self, form: str, value: float) -> Self:
        self.data += struct.pack(f"<{form}", value)
        return self

    def text(self, value: str) -> Self:
        data = value.encode()
        self.number("Q", len(data))
        self.data += data
        return self

    def tensor(self, value: Any) -> Self:
        self.data += np.ascontiguousarray(value, np.float32).tobytes()
        return self.pad()

    def pad(self) -> Self:
        self.data += bytes(-len(self.data) % _ALIGNMENT)
        return self


def _file(facts: Mapping[str, Any], tensors: Mapping[str, Any]) -> bytes:
    head, body = _Bytes(), _Bytes()
    head.data += b"GGUF"
    head.number("I", 3).number("Q", len(tensors)).number("Q", len(facts))
    for name, value in facts.items():
        kind = _kind(value)
        head.text(name).number("I", kind)
        _add_value(head, kind, value)
    for name, value in tensors.items():
        head.text(name).number("I", value.ndim)
        for size in reversed(value.shape):
            head.number("Q", size)
        head.number("I", 0).number("Q", len(body.data))
        body.tensor(value)
    return bytes(head.pad().data + body.data)


def _kind(value: Any) -> int:
    return {bool: 7, int: 4, float: 6, str: 8, list: 9}[type(value)]


def _add_value(head: _Bytes, kind: int, value: Any) -> None:
    if kind == 8:
        head.text(value)
    elif kind == 9:
        _add_list(head, value)
    else:
        head.number({7: "?", 4: "I", 6: "f"}[kind], value)


def _add_list(head: _Bytes, values: Sequence[Any]) -> None:
    kind = 5 if isinstance(values[0], int) else _kind(values[0])  # token types are signed
    head.number("I", kind).number("Q", len(values))
    for value in values:
        if kind == 5:
            head.number("i", value)
        else:
            _add_value(head, kind, value)
