"""Models of the fastembed library: downloaded once by it, run in this process."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from typing import Any

from memsched.errors import SettingsError
from memsched.memory.embedding.embedder import EmbeddingError, truncate
from memsched.memory.embedding.local import MODEL_THREADS

_MAX_TEXT_BYTES = 64 * 1024
"""More than any of its models reads (8,192 tokens at most); the rest would only be taken apart and thrown away."""


class FastembedModel:
    """A LocalModel. E5 models and the like get their words before queries and passages, by fastembed."""

    def __init__(self, model: str) -> None:
        if importlib.util.find_spec("fastembed") is None:
            problem = "needs a package that is not installed. Run: pip install 'memsched[fastembed]'."
            raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: fastembed:{model} {problem}"])
        self._model_name = model
        self._model: Any = None
        self.name = f"fastembed:{model}"
        self.dimensions = 0
        """Known when it is loaded."""

    def load(self) -> None:
        from fastembed import TextEmbedding

        known = {each["model"].lower(): each for each in TextEmbedding.list_supported_models()}
        if self._model_name.lower() not in known:
            close = difflib.get_close_matches(self._model_name.lower(), list(known), n=3, cutoff=0.4)
            names = ", ".join(known[name]["model"] for name in close)
            advice = f"; did you mean {names}?" if names else "."
            raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: fastembed has no model {self._model_name!r}{advice}"])
        try:
            self._model = TextEmbedding(model_name=self._model_name, threads=MODEL_THREADS)
        except Exception as error:  # from the network, the disk or the model's file: it does not tell which
            raise EmbeddingError(
                f"fastembed cannot load {self._model_name!r} ({type(error).__name__}). It downloads a model when it is "
                "first used: is there a network, and room on the disk (FASTEMBED_CACHE_PATH)?",
                temporary=True,
            ) from error
        self.dimensions = int(known[self._model_name.lower()]["dim"])

    def documents(self, texts: Sequence[str]) -> list[Any]:
        return list(self._model.passage_embed(_short(texts), batch_size=len(texts)))

    def queries(self, texts: Sequence[str]) -> list[Any]:
        return list(self._model.query_embed(_short(texts), batch_size=len(texts)))


def _short(texts: Sequence[str]) -> list[str]:
    return [truncate(text, _MAX_TEXT_BYTES) for text in texts]
