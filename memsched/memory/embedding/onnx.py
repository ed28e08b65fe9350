"""A model from a folder on this machine: nothing is downloaded, and no server is needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsched.errors import SettingsError
from memsched.memory.embedding.local import MODEL_THREADS
from memsched.memory.embedding.model_folder import Pooling, pad_token, read_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memsched.memory.embedding.tokens import Tokens

_TOKENS_AT_ONCE = 4096
"""With padding. Eight texts of 512 tokens in twelve heads: 100 MB of scores, which is enough for one step."""


class FolderModel:
    """A LocalModel. Raises SettingsError when it cannot be run; its weights are not looked at before ``load``."""

    def __init__(self, path: Path) -> None:
        self._folder = read_folder(path)
        _check_installed()
        self.dimensions = self._folder.dimensions
        self._tokens: Tokens
        self._encode: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]

    @cached_property
    def name(self) -> str:
        """The same wherever the folder is moved to, as long as its last part stays. Takes a second per gigabyte."""
        return f"folder:{self._folder.path.resolve().name}-{self._folder.fingerprint()}"

    def load(self) -> None:
        from memsched.memory.embedding.onnx_encoder import OnnxEncoder
        from memsched.memory.embedding.tokens import Tokens

        self._tokens = Tokens(self._folder)
        self._encode = OnnxEncoder(self._folder, MODEL_THREADS)
        if not self.dimensions:
            self.dimensions = int(self.documents(["memory"]).shape[1])
        _ = self.name  # read here, in the model's thread

    def documents(self, texts: Sequence[str]) -> NDArray[Any]:
        return self._rows([self._folder.document_prompt + text for text in texts])

    def queries(self, texts: Sequence[str]) -> NDArray[Any]:
        return self._rows([self._folder.query_prompt + text for text in texts])

    def _rows(self, texts: Sequence[str]) -> NDArray[Any]:
        import numpy as np

        ids = self._tokens.of(texts)
        rows = []
        for group in _groups(ids):
            width = max(1, *(len(each) for each in group))
            padded = np.full((len(group), width), pad_token(self._folder.config), dtype=np.int64)
            mask = np.zeros((len(group), width), dtype=np.int64)
            for row, each in enumerate(group):
                padded[row, : len(each)] = each
                mask[row, : len(each)] = 1
            rows.append(_pooled(self._encode(padded, mask), mask, self._folder.pooling))
        return np.concatenate(rows)


def _groups(ids: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """In order, each within _TOKENS_AT_ONCE when padded to its longest."""
    start = width = 0
    for place, each in enumerate(ids):
        width = max(width, len(each))
        if place > start and width * (place + 1 - start) > _TOKENS_AT_ONCE:
            yield ids[start:place]
            start, width = place, len(each)
    yield ids[start:]


def _pooled(hidden: NDArray[Any], mask: NDArray[Any], pooling: Pooling) -> NDArray[Any]:
    """hidden: [texts, tokens, size] or, pooled by the model itself, [texts, size]. Returns [texts, size]."""
    import numpy as np

    if hidden.ndim == 2:
        return hidden
    if pooling is Pooling.CLS:
        first: NDArray[Any] = hidden[:, 0] * mask[:, :1]  # a text without any token has no first one
        return first
    sums = np.einsum("tks,tk->ts", hidden, mask.astype(np.float32))
    means: NDArray[Any] = sums / np.maximum(mask.sum(axis=1, keepdims=True), 1).astype(np.float32)
    return means


def _check_installed() -> None:
    if missing := [name for name in ("tokenizers", "onnxruntime") if importlib.util.find_spec(name) is None]:
        raise SettingsError(
            [
                f"MEMSCHED_EMBEDDING_MODEL: a model from a folder needs {' and '.join(missing)}. "
                "Run: pip install 'memsched[models]'."
            ]
        )
