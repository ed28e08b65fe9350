"""An ONNX model from a folder on this machine, run by onnxruntime: nothing is downloaded, and no server is needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memsched.errors import SettingsError
from memsched.memory.embedding.embedder import truncate
from memsched.memory.embedding.local import MODEL_THREADS
from memsched.memory.embedding.model_folder import ModelFolder, Pooling, pad_token, read_folder, unusable

_TOKENS_AT_ONCE = 4096
"""With padding. Eight texts of 512 tokens in twelve heads: 100 MB of scores, which is enough for one step."""
_BYTES_PER_TOKEN = 32
"""No language has so many on average; what is beyond would be taken apart only to be thrown away."""
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
_NEEDED = frozenset({"input_ids", "attention_mask"})
_OUTPUTS = ("last_hidden_state", "token_embeddings")
_SPECIAL = {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": "[PAD]"}


class OnnxModel:
    """A LocalModel: tokenizer, encoder, pooling.

    Raises SettingsError when it cannot be run; its weights are not looked at before ``load``.
    """

    def __init__(self, path: Path) -> None:
        self._folder = read_folder(path)
        _check_installed()
        self.dimensions = self._folder.dimensions
        self._tokenizer: _Tokenizer
        self._encoder: _Encoder

    @cached_property
    def name(self) -> str:
        """The same wherever the folder is moved to, as long as its last part stays. Takes a second per gigabyte."""
        return f"folder:{self._folder.path.resolve().name}-{self._folder.fingerprint()}"

    def load(self) -> None:
        self._tokenizer = _Tokenizer(self._folder)
        self._encoder = _Encoder(self._folder)
        if not self.dimensions:
            self.dimensions = int(self.documents(["memory"]).shape[1])
        _ = self.name  # read here, in the model's thread

    def documents(self, texts: Sequence[str]) -> NDArray[Any]:
        return self._rows([self._folder.document_prompt + text for text in texts])

    def queries(self, texts: Sequence[str]) -> NDArray[Any]:
        return self._rows([self._folder.query_prompt + text for text in texts])

    def _rows(self, texts: Sequence[str]) -> NDArray[Any]:
        rows = []
        for batch in _batches(self._tokenizer.encode(texts)):
            ids, mask = _padded(batch, pad_token(self._folder.config))
            rows.append(_pooled(self._encoder.run(ids, mask), mask, self._folder.pooling))
        return np.concatenate(rows)


def _check_installed() -> None:
    if missing := [name for name in ("tokenizers", "onnxruntime") if importlib.util.find_spec(name) is None]:
        advice = f"a model from a folder needs {' and '.join(missing)}. Run: pip install 'memsched[models]'."
        raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {advice}"])


def _batches(ids: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """The texts in order, in batches within _TOKENS_AT_ONCE when padded to their longest."""
    start = width = 0
    for place, each in enumerate(ids):
        width = max(width, len(each))
        if place > start and width * (place + 1 - start) > _TOKENS_AT_ONCE:
            yield ids[start:place]
            start, width = place, len(each)
    yield ids[start:]


def _padded(ids: Sequence[Sequence[int]], pad: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ids and attention mask as [texts, tokens]; the mask is 0 at padding."""
    width = max(1, *(len(each) for each in ids))
    padded = np.full((len(ids), width), pad, dtype=np.int64)
    mask = np.zeros((len(ids), width), dtype=np.int64)
    for row, each in enumerate(ids):
        padded[row, : len(each)] = each
        mask[row, : len(each)] = 1
    return padded, mask


def _pooled(hidden: NDArray[Any], mask: NDArray[Any], pooling: Pooling) -> NDArray[Any]:
    """hidden: [texts, tokens, size] or, pooled by the model itself, [texts, size]. Returns [texts, size]."""
    if hidden.ndim == 2:
        return hidden
    if pooling is Pooling.CLS:
        first: NDArray[Any] = hidden[:, 0] * mask[:, :1]  # a text without any token has no first one
        return first
    sums = np.einsum("tks,tk->ts", hidden, mask.astype(np.float32))
    means: NDArray[Any] = sums / np.maximum(mask.sum(axis=1, keepdims=True), 1).astype(np.float32)
    return means


class _Tokenizer:
    """Texts to the ids of their tokens. Raises SettingsError when the tokenizer's file cannot be read."""

    def __init__(self, folder: ModelFolder) -> None:
        self._tokenizer = _load_tokenizer(folder)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(folder.max_tokens)
        self._max_bytes = folder.max_tokens * _BYTES_PER_TOKEN
        self._lowercase = folder.lowercase

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text's tokens, with the special ones, at most the folder's max_tokens."""
        texts = [truncate(text, self._max_bytes) for text in texts]
        if self._lowercase:
            texts = [text.lower() for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]


def _load_tokenizer(folder: ModelFolder) -> Any:
    import tokenizers

    try:
        if folder.tokenizer.name == "tokenizer.json":
            return tokenizers.Tokenizer.from_file(str(folder.tokenizer))
        words = folder.tokenizer.read_text(encoding="utf-8").splitlines()
    except Exception as error:  # the library raises nothing narrower
        raise unusable(folder.path, f"{folder.tokenizer.name} cannot be read ({type(error).__name__})") from error
    special = {key: _special(folder, key, default) for key, default in _SPECIAL.items()}
    vocabulary = {word: number for number, word in enumerate(words)}
    if missing := sorted(set(special.values()) - vocabulary.keys()):
        raise unusable(folder.path, f"vocab.txt has no {', '.join(missing)}")
    config = folder.tokenizer_config
    return tokenizers.BertWordPieceTokenizer(
        vocabulary,
        **special,
        lowercase=bool(config.get("do_lower_case", True)),
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
    )


def _special(folder: ModelFolder, key: str, default: str) -> str:
    """A special token's text; tokenizer_config.json has it as a string or as an object."""
    value = folder.tokenizer_config.get(key, default)
    return str(value.get("content", default) if isinstance(value, dict) else value)


class _Encoder:
    """The model's session in onnxruntime. Raises SettingsError when it cannot be run, or wants what is not there."""

    def __init__(self, folder: ModelFolder) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = MODEL_THREADS
        options.inter_op_num_threads = 1
        # Its threads would go on turning for a while after each call, on the CPU that the worker needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        file = folder.weights
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base of their own
            raise unusable(folder.path, f"{file.name} cannot be loaded ({type(error).__name__})") from error
        self._inputs = frozenset(each.name for each in self._session.get_inputs())
        if not _NEEDED <= self._inputs <= _INPUTS:
            raise unusable(folder.path, f"{file.name} takes {', '.join(sorted(self._inputs))}")
        outputs = [each.name for each in self._session.get_outputs()]
        self._output = next((name for name in _OUTPUTS if name in outputs), outputs[0])

    def run(self, ids: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
        """ids, mask: [texts, tokens], int64. Returns [texts, tokens, size]; or [texts, size] if it pools."""
        given = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            given["token_type_ids"] = np.zeros_like(ids)
        if "position_ids" in self._inputs:
            given["position_ids"] = np.broadcast_to(np.arange(ids.shape[1], dtype=ids.dtype), ids.shape).copy()
        result: NDArray[Any] = self._session.run([self._output], given)[0]
        return result.astype(np.float32)
