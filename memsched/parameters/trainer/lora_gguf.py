"""An adapter as llama.cpp reads it: the same matrices under llama.cpp's names, in GGUF."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

_ARCHITECTURES: Mapping[str, str] = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
}
"""By transformers' model type, llama.cpp's architecture."""
_ROTATED = frozenset({"llama", "mistral"})
"""Where llama.cpp has the rows of q and k in another order than transformers."""
_NAMES: Mapping[str, str] = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TENSOR = re.compile(r"^base_model\.model\.model\.layers\.(\d+)\.(.+)\.lora_([AB])\.weight$")


def convert(adapter: Path, config: Mapping[str, Any], target: Path) -> str:
    """Write the adapter in this folder as GGUF. Returns why it cannot be; "" if it is done.

    Args:
        config: of the base model (``config.json``).
    """
    kind = str(config.get("model_type", ""))
    if kind not in _ARCHITECTURES:
        return f"models of type {kind!r} are not known here"
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for name, values in load_file(adapter / "adapter_model.safetensors").items():
        found = _TENSOR.match(name)
        if found is None or found[2] not in _NAMES:
            return f"llama.cpp has no place for {name}"
        part = found[2].rpartition(".")[2]
        rows = values
        if found[3] == "B" and kind in _ROTATED and part in ("q_proj", "k_proj"):
            heads = "num_attention_heads" if part == "q_proj" else "num_key_value_heads"
            rows = rotated(values, int(config.get(heads) or config["num_attention_heads"]))
        tensors[f"blk.{found[1]}.{_NAMES[found[2]]}.weight.lora_{found[3].lower()}"] = rows.astype(np.float32)
    lora = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(target, _ARCHITECTURES[kind])
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(lora["lora_alpha"]))
    for name, values in sorted(tensors.items()):
        writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return ""


def rotated(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """The rows of each head, its two halves interleaved: the order in which llama.cpp rotates them."""
    rows = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return rows.swapaxes(1, 2).reshape(values.shape)
