"""BERT's encoder (Devlin et al. 2019) in numpy, from a safetensors file: MiniLM, BGE, E5, GTE and their like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memsched.memory.embedding.onnx import ModelFolder, unusable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PREFIXES = ("", "bert.")
_MASKED = -1e30
"""Added to the score of padding: its weight becomes exactly 0, and no difference of scores is infinite."""


@dataclass(frozen=True)
class _Linear:
    weight: NDArray[Any]
    bias: NDArray[Any]

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = x @ self.weight.T
        result += self.bias
        return result


@dataclass(frozen=True)
class _Norm:
    weight: NDArray[Any]
    bias: NDArray[Any]
    epsilon: float

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        x = x - x.mean(axis=-1, keepdims=True)
        deviation = ((x * x).mean(axis=-1, keepdims=True) + self.epsilon) ** 0.5
        result: NDArray[Any] = x / deviation * self.weight + self.bias
        return result


@dataclass(frozen=True)
class _Layer:
    query: _Linear
    key: _Linear
    value: _Linear
    attended: _Linear
    attended_norm: _Norm
    wide: _Linear
    narrow: _Linear
    narrow_norm: _Norm


class BertEncoder:
    """Computes in float32, whatever the file holds. Raises SettingsError when it is not such a model."""

    def __init__(self, folder: ModelFolder) -> None:
        config = folder.config
        problems = [
            f"its {key} is {config.get(key, default)!r}"
            for key, default, supported in (
                ("model_type", None, "bert"),
                ("hidden_act", "gelu", "gelu"),
                ("position_embedding_type", "absolute", "absolute"),
            )
            if config.get(key, default) != supported
        ]
        if problems:
            raise unusable(folder.path, " and ".join(problems))
        size, self._heads, layers, inner = (
            int(_number(folder, key))
            for key in ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size")
        )
        epsilon = _number(folder, "layer_norm_eps", 1e-12)
        if self._heads < 1 or size % self._heads:
            raise unusable(folder.path, f"{size} numbers cannot be shared by {self._heads} heads")
        file = _Tensors(folder)
        self._words = file.get("embeddings.word_embeddings.weight", None, size)
        self._positions = file.get("embeddings.position_embeddings.weight", None, size)
        self._kind = file.get("embeddings.token_type_embeddings.weight", None, size)[0]
        self._norm = file.norm("embeddings.LayerNorm", size, epsilon)
        self._layers = [_layer(file, f"encoder.layer.{number}", size, inner, epsilon) for number in range(layers)]
        self.vocabulary = len(self._words)
        self.max_tokens = len(self._positions)

    def __call__(self, ids: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
        """ids, mask: [texts, tokens], int64; mask is 0 at padding. Returns [texts, tokens, size]."""
        import numpy as np

        hidden = self._norm(self._words[ids] + self._positions[: ids.shape[1]] + self._kind)
        penalty = np.where(mask == 0, np.float32(_MASKED), np.float32(0))[:, None, None, :]
        for layer in self._layers:
            hidden = layer.attended_norm(layer.attended(self._attend(layer, hidden, penalty)) + hidden)
            hidden = layer.narrow_norm(layer.narrow(gelu(layer.wide(hidden))) + hidden)
        return hidden

    def _attend(self, layer: _Layer, hidden: NDArray[Any], penalty: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        texts, tokens, size = hidden.shape
        of_head = size // self._heads

        def heads(x: NDArray[Any]) -> NDArray[Any]:
            return x.reshape(texts, tokens, self._heads, of_head).transpose(0, 2, 1, 3)

        query, key, value = heads(layer.query(hidden)), heads(layer.key(hidden)), heads(layer.value(hidden))
        scores = query @ key.transpose(0, 1, 3, 2)
        scores *= np.float32(1 / math.sqrt(of_head))
        scores += penalty
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        joined: NDArray[Any] = (scores @ value).transpose(0, 2, 1, 3).reshape(texts, tokens, size)
        return joined


def gelu(x: NDArray[Any]) -> NDArray[Any]:
    """x times the normal distribution's share below x (Hendrycks & Gimpel 2016), for float32."""
    import numpy as np

    result: NDArray[Any] = x * np.float32(0.5) * (1 + erf(x * np.float32(math.sqrt(0.5))))
    return result


def erf(x: NDArray[Any]) -> NDArray[Any]:
    """The error function for float32, within 5e-7: a quotient of polynomials, constants from Eigen."""
    import numpy as np

    x = np.clip(x, -4, 4)  # beyond, it is 1 for float32
    square = x * x
    result: NDArray[Any] = x * _polynomial(_ABOVE, square) / _polynomial(_BELOW, square)
    return result


# Of x**0, x**2, x**4 and so on.
_ABOVE = (
    -1.60960333262415e-02,
    -2.95459980854025e-03,
    -7.34990630326855e-04,
    -5.69250639462346e-05,
    -2.10102402082508e-06,
    2.77068142495902e-08,
    -2.72614225801306e-10,
)
_BELOW = (
    -1.42647390514189e-02,
    -7.37332916720468e-03,
    -1.68282697438203e-03,
    -2.13374055278905e-04,
    -1.45660718464996e-05,
)


def _polynomial(factors: tuple[float, ...], x: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    result = np.full_like(x, factors[-1])
    for factor in factors[-2::-1]:
        result *= x
        result += np.float32(factor)
    return result


def _layer(file: _Tensors, name: str, size: int, inner: int, epsilon: float) -> _Layer:
    own, out = f"{name}.attention.self", f"{name}.attention.output"
    return _Layer(
        query=file.linear(f"{own}.query", size, size),
        key=file.linear(f"{own}.key", size, size),
        value=file.linear(f"{own}.value", size, size),
        attended=file.linear(f"{out}.dense", size, size),
        attended_norm=file.norm(f"{out}.LayerNorm", size, epsilon),
        wide=file.linear(f"{name}.intermediate.dense", inner, size),
        narrow=file.linear(f"{name}.output.dense", size, inner),
        narrow_norm=file.norm(f"{name}.output.LayerNorm", size, epsilon),
    )


class _Tensors:
    """The tensors of a safetensors file, as float32, by BERT's names with or without ``bert.`` before them."""

    def __init__(self, folder: ModelFolder) -> None:
        from safetensors import SafetensorError, deserialize

        self._folder = folder
        try:
            # Not the library's numpy reader: numpy has no bfloat16.
            self._entries = dict(deserialize(folder.weights.read_bytes()))  # type: ignore[no-untyped-call]
        except (OSError, SafetensorError) as error:
            raise unusable(folder.path, f"{folder.weights.name} cannot be read ({type(error).__name__})") from error

    def linear(self, name: str, out: int, size: int) -> _Linear:
        return _Linear(self.get(f"{name}.weight", out, size), self.get(f"{name}.bias", out))

    def norm(self, name: str, size: int, epsilon: float) -> _Norm:
        # As TensorFlow called them, in older files.
        weight, bias = ("weight", "bias") if self._has(f"{name}.weight") else ("gamma", "beta")
        return _Norm(self.get(f"{name}.{weight}", size), self.get(f"{name}.{bias}", size), epsilon)

    def get(self, name: str, *shape: int | None) -> NDArray[Any]:
        """The tensor, of this shape; None stands for any length above 0."""
        entry = next((self._entries[prefix + name] for prefix in _PREFIXES if prefix + name in self._entries), None)
        if entry is None:
            raise unusable(self._folder.path, f"{self._folder.weights.name} has no {name}")
        given = tuple(entry["shape"])
        fits = len(given) == len(shape) and all(
            a == b or (b is None and a > 0) for a, b in zip(given, shape, strict=True)
        )
        if not fits:
            raise unusable(self._folder.path, f"{name} has the shape {given}, which config.json does not say")
        array = _as_float32(entry["dtype"], entry["data"])
        if array is None:
            raise unusable(self._folder.path, f"{name} is of type {entry['dtype']}, not F32, F16 or BF16")
        return array.reshape(given)

    def _has(self, name: str) -> bool:
        return any(prefix + name in self._entries for prefix in _PREFIXES)


def _as_float32(kind: str, data: bytes) -> NDArray[Any] | None:
    import numpy as np

    if kind == "F32":
        return np.frombuffer(data, dtype="<f4").astype(np.float32)
    if kind == "F16":
        return np.frombuffer(data, dtype="<f2").astype(np.float32)
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    return None


def _number(folder: ModelFolder, key: str, default: float | None = None) -> float:
    try:
        return float(folder.config.get(key, default))
    except (TypeError, ValueError) as error:
        raise unusable(folder.path, f"config.json has no usable {key}") from error
