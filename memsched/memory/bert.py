"""The forward pass of a BERT encoder (Devlin et al. 2019) in numpy, from the weights of a safetensors file.

Made for small sentence encoders of the MiniLM class: some milliseconds for a sentence on one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsched.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_PREFIXES = ("", "bert.", "model.", "0.auto_model.")
_MASKED = -1e9


class Bert:
    """Token ids to the last hidden states: shapes (batch, tokens) to (batch, tokens, hidden)."""

    def __init__(self, weights: Mapping[str, Array], config: Mapping[str, Any]) -> None:
        if config.get("hidden_act", "gelu") not in ("gelu", "relu"):
            raise _unsupported(f"the activation {config['hidden_act']!r}")
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise _unsupported("relative positions")
        self._relu = config.get("hidden_act") == "relu"
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self.longest = int(config.get("max_position_embeddings", 512))
        name = "embeddings.word_embeddings.weight"
        prefix = next((each for each in _PREFIXES if each + name in weights), None)
        if prefix is None:
            raise _unsupported("weights that are not those of a BERT encoder")
        self._weights = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        missing = [key for key in self._needed() if key not in self._weights]
        if missing:
            raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: the model's weights lack {', '.join(missing[:3])}."])

    @classmethod
    def load(cls, file: Path, config: Mapping[str, Any]) -> Bert:
        """The model in a safetensors file of float32, float16 or bfloat16 weights."""
        return cls(_read(file), config)

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Array:
        import numpy as np

        weight = self._weights
        hidden = weight["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + weight["embeddings.position_embeddings.weight"][: ids.shape[1]]
        hidden = hidden + weight["embeddings.token_type_embeddings.weight"][0]
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        hide = ((1 - mask)[:, None, None, :] * _MASKED).astype(np.float32)
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            attended = self._linear(self._attend(hidden, hide, layer), f"{layer}.attention.output.dense")
            hidden = self._norm(hidden + attended, f"{layer}.attention.output.LayerNorm")
            inner = self._activate(self._linear(hidden, f"{layer}.intermediate.dense"))
            hidden = self._norm(hidden + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return hidden

    def _attend(self, hidden: Array, hide: Array, layer: str) -> Array:
        import numpy as np

        batch, tokens, size = hidden.shape
        width = size // self._heads

        def split(name: str) -> Array:
            flat = self._linear(hidden, f"{layer}.attention.self.{name}")
            return flat.reshape(batch, tokens, self._heads, width).transpose(0, 2, 1, 3)

        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width)) + hide
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores = scores / scores.sum(axis=-1, keepdims=True)
        joined: Array = (scores @ value).transpose(0, 2, 1, 3).reshape(batch, tokens, size)
        return joined

    def _linear(self, values: Array, name: str) -> Array:
        result: Array = values @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return result

    def _norm(self, values: Array, name: str) -> Array:
        import numpy as np

        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._epsilon)
        normed: Array = (scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]).astype(np.float32)
        return normed

    def _activate(self, values: Array) -> Array:
        import numpy as np

        if self._relu:
            rectified: Array = np.maximum(values, 0)
            return rectified
        activated: Array = (values * 0.5 * (1 + _erf(values / np.sqrt(2)))).astype(np.float32)
        return activated

    def _needed(self) -> list[str]:
        names = ["embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight",
                 "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"]  # fmt: skip
        parts = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                 "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")  # fmt: skip
        for number in range(self._layers):
            names += [f"encoder.layer.{number}.{part}.{kind}" for part in parts for kind in ("weight", "bias")]
        return names


def _erf(values: Any) -> Any:
    """Abramowitz & Stegun 7.1.26: error below 1.5e-7, less than float32 shows."""
    import numpy as np

    size = np.abs(values)
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(values) * (1 - series * np.exp(-size * size))


def _read(file: Path) -> dict[str, Array]:
    """All tensors as float32; bfloat16, which numpy does not know, is widened by hand."""
    import numpy as np
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {file.name} is no safetensors file ({error})."]) from error
    kinds = {"F32": np.float32, "F16": np.float16, "F64": np.float64}
    found: dict[str, Array] = {}
    for name, tensor in tensors:
        if tensor["dtype"] == "BF16":
            wide = np.frombuffer(tensor["data"], dtype=np.uint16).astype(np.uint32) << 16
            values: Any = wide.view(np.float32)
        elif tensor["dtype"] in kinds:
            values = np.frombuffer(tensor["data"], dtype=kinds[tensor["dtype"]]).astype(np.float32)
        else:
            continue  # position ids and such
        found[name] = values.reshape(tensor["shape"])
    return found


def _unsupported(what: str) -> SettingsError:
    return SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {what} cannot be run here; an ONNX export of the model can."])
