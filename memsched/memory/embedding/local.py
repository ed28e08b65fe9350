"""A model that runs in this process: in a single worker thread, a batch at a time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from memsched.errors import SettingsError
from memsched.logs import get_logger
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.embedding.vectors import NotFinite, as_lists, unit_rows
from memsched.settings import Settings

log = get_logger(__name__)
Result = TypeVar("Result")

_TRIED = ["memory"]
"""Of this every model in order makes a vector."""
MODEL_THREADS = min(4, os.cpu_count() or 1)
"""Threads of a model's arithmetic: a worker has other things to do, and may have neighbours."""


class LocalModel(Protocol):
    """Its methods are called from one thread only. Texts may be anything; rows need not be of length 1."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def load(self) -> None:
        """Raises SettingsError or EmbeddingError. After that it is not called again."""

    def documents(self, texts: Sequence[str]) -> Any:
        """Return rows of numbers: [texts, dimensions]."""

    def queries(self, texts: Sequence[str]) -> Any:
        """Return rows of numbers: [texts, dimensions]."""


class LocalEmbedder:
    """The Embedder of a LocalModel. A query waits for one batch of documents at most per caller before it."""

    may_embed_later = False

    def __init__(self, model: LocalModel, settings: Settings) -> None:
        self._model = model
        self._batch = settings.embedding_batch
        self._loaded = False
        # One thread: no model is entered twice at once, and the loop's own pool is left to the handlers.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="memsched-embedding")

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def dimensions(self) -> int:
        return self._model.dimensions

    async def prepare(self) -> None:
        await self._run(self._load)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        # Texts of about one length together: all of a batch are padded to its longest.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors: list[list[float]] = [[]] * len(texts)
        for start in range(0, len(order), self._batch):
            places = order[start : start + self._batch]
            batch = [texts[place] for place in places]
            for place, vector in zip(places, await self._run(self._embed, self._model.documents, batch), strict=True):
                vectors[place] = vector
        return vectors

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        return (await self._run(self._embed, self._model.queries, [text]))[0]

    async def aclose(self) -> None:
        """A batch that is running goes on to its end."""
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[..., Result], *args: Any) -> Result:
        try:
            future = self._thread.submit(work, *args)
        except RuntimeError as error:
            raise EmbeddingError("It was closed.", temporary=True) from error
        return await asyncio.wrap_future(future)

    def _load(self) -> None:
        if self._loaded:
            return
        started = time.monotonic()
        try:
            self._model.load()
        except (SettingsError, EmbeddingError):
            raise
        except Exception as error:  # a file that is gone, a disk that fails, or what nobody thought of
            temporary = isinstance(error, (OSError, MemoryError))
            failure = f"The model cannot be loaded ({type(error).__name__})."
            raise EmbeddingError(failure, temporary=temporary) from error
        self._embed_loaded(self._model.documents, _TRIED)
        self._loaded = True
        log.info(
            "embedding model loaded",
            action="embedding.loaded",
            model=self._model.name,
            dimensions=self._model.dimensions,
            seconds=round(time.monotonic() - started, 2),
        )

    def _embed(self, model: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> list[list[float]]:
        self._load()
        return self._embed_loaded(model, texts)

    def _embed_loaded(self, model: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> list[list[float]]:
        try:
            rows = model(texts)
        except EmbeddingError:
            raise
        except Exception as error:
            # Which exceptions a model's library knows is not told; their messages may hold the texts.
            failure = f"{self._model.name} failed with {type(error).__name__}."
            raise EmbeddingError(failure, temporary=isinstance(error, MemoryError)) from error
        try:
            rows = unit_rows(rows)
        except NotFinite:
            if list(texts) == _TRIED:
                raise
            self._embed_loaded(model, _TRIED)  # when this has no vector either, it is not for the texts
            rows = np.zeros((len(texts), self._model.dimensions), dtype=np.float32)
        wanted = (len(texts), self._model.dimensions)
        if rows.shape != wanted:
            raise EmbeddingError(f"{self._model.name} gave {rows.shape} numbers instead of {wanted}.", temporary=False)
        return as_lists(rows)
