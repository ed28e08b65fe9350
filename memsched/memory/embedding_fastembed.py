"""Embedding models that the fastembed library downloads and runs in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from memsched.errors import SettingsError
from memsched.memory.embedding import EmbeddingError


class FastembedEmbedder:
    """``fastembed:MODEL``. The model is loaded, and at first downloaded, by ``prepare``."""

    def __init__(self, model: str, batch: int) -> None:
        self.name = f"fastembed:{model}"
        self.dimensions = 0
        self._model = model
        self._batch = batch
        self._loaded: Any = None
        self._one_at_a_time = asyncio.Lock()

    async def prepare(self) -> None:
        try:
            self._loaded = await asyncio.to_thread(self._load)
        except ImportError as error:
            raise SettingsError(["MEMSCHED_EMBEDDING_MODEL: it needs: pip install 'memsched[fastembed]'."]) from error
        except ValueError as error:
            raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: fastembed has no model {self._model!r}."]) from error
        except OSError as error:
            raise EmbeddingError(f"The model {self._model} cannot be loaded: {error}.", temporary=True) from error
        (vector,) = await self.embed_documents(["memory"])
        self.dimensions = len(vector)

    def _load(self) -> Any:
        from fastembed import TextEmbedding

        return TextEmbedding(model_name=self._model)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if not texts:
            return []
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._embed, list(texts))

    def _embed(self, texts: list[str]) -> list[list[float]]:
        from memsched.memory.embedding_server import unit

        return [unit(vector.tolist()) for vector in self._loaded.embed(texts, batch_size=self._batch)]

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        async with self._one_at_a_time:
            (vector,) = await asyncio.to_thread(lambda: list(self._loaded.query_embed([text])))
        from memsched.memory.embedding_server import unit

        return unit(vector.tolist())

    async def aclose(self) -> None:
        self._loaded = None
