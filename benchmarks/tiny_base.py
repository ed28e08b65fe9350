"""A model of 1.2 million parameters made on the spot: random weights, trained for a few minutes on generated text.

It stands for the models that people run, so that a trainer can be tried without a download. Needs the extra ``train``.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.tiny_texts import chats, other_texts
from memsched.parameters.trainer.lora_gguf import rotated

_SIZE, _LAYERS, _HEADS, _INNER, _VOCABULARY, _CONTEXT = 144, 4, 4, 416, 1024, 512
_SPREAD = 0.08
"""Of the first weights. With the usual 0.02, so narrow a model is never sure of a word."""
_END, _USER, _ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make(folder: Path, *, steps: int = 260, seed: int = 0, beside: list[str] | None = None) -> float:
    """Make the model, for transformers and (``base.gguf``) for llama.cpp. Returns the loss that it ended with.

    Args:
        beside: texts whose words the tokenizer shall know too.
    """
    torch.manual_seed(seed)
    talks = [f"{_USER}{asked}{_END}{_ASSISTANT}{said}{_END}" for asked, said in chats(3000)]
    texts = [*other_texts(9000), *talks]
    tokenizer = _tokenizer([*texts, *(beside or [])])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_SIZE,
        intermediate_size=_INNER,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        num_key_value_heads=_HEADS,
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=True,
        initializer_range=_SPREAD,
        bos_token_id=tokenizer.convert_tokens_to_ids(_END),
        eos_token_id=tokenizer.convert_tokens_to_ids(_END),
    )
    model = LlamaForCausalLM(config)
    loss = _trained(model, tokenizer, texts, steps, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_gguf(model, tokenizer, folder / "base.gguf")
    return loss


def _tokenizer(texts: list[str]) -> Any:
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_END, _USER, _ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    plain.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=_END, pad_token=_END)
    wrapped.add_special_tokens({"additional_special_tokens": [_USER, _ASSISTANT]})
    wrapped.chat_template = TEMPLATE
    return wrapped


def _trained(model: Any, tokenizer: Any, texts: list[str], steps: int, seed: int) -> float:
    """On windows of the texts in a row."""
    random.Random(seed).shuffle(texts)
    end = tokenizer.eos_token_id
    ids = [token for text in texts for token in (*tokenizer(text, add_special_tokens=False)["input_ids"], end)]
    width, size = 64, 16
    windows = torch.tensor(ids[: len(ids) // width * width]).reshape(-1, width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    loss = 0.0
    model.train()
    for step in range(steps):
        at = (step * size) % (len(windows) - size)
        batch = windows[at : at + size]
        out = model(input_ids=batch, labels=batch)
        optimizer.zero_grad()
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        plan.step()
        loss = float(out.loss.detach())
    return loss


def _write_gguf(model: Any, tokenizer: Any, path: Path) -> None:
    """The same model as llama.cpp reads it."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_SIZE)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_SIZE // _HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _write_words(writer, tokenizer)
    weights = {name: each.detach().numpy().astype(np.float32) for name, each in model.state_dict().items()}
    for name, values in weights.items():
        if target := _place(name):
            turned = name.endswith(("q_proj.weight", "k_proj.weight"))
            writer.add_tensor(target, np.ascontiguousarray(rotated(values, _HEADS) if turned else values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_words(writer: Any, tokenizer: Any) -> None:
    read = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    words = sorted(read["vocab"], key=read["vocab"].get)
    control = {_END, _USER, _ASSISTANT}
    kinds = [gguf.TokenType.CONTROL if each in control else gguf.TokenType.NORMAL for each in words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in read["merges"]])
    writer.add_bos_token_id(tokenizer.eos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _place(name: str) -> str:
    """llama.cpp's name of a weight; "" for one that it does not want."""
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in whole:
        return whole[name]
    if not name.startswith("model.layers."):
        return ""  # tied to the embedding
    _, _, layer, *rest = name.split(".")
    parts = {
        "input_layernorm.weight": "attn_norm",
        "post_attention_layernorm.weight": "ffn_norm",
        "self_attn.q_proj.weight": "attn_q",
        "self_attn.k_proj.weight": "attn_k",
        "self_attn.v_proj.weight": "attn_v",
        "self_attn.o_proj.weight": "attn_output",
        "mlp.gate_proj.weight": "ffn_gate",
        "mlp.up_proj.weight": "ffn_up",
        "mlp.down_proj.weight": "ffn_down",
    }
    return f"blk.{layer}.{parts['.'.join(rest)]}.weight"
