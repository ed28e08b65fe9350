"""Embeddings from an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from memsched.memory.embedding import EmbeddingError
from memsched.memory.embedding_cache import EmbeddingCache
from memsched.settings import Settings, masked

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = structlog.get_logger(__name__)

MAX_CHARACTERS = 24_000
"""Of one text: servers refuse what is longer than about 8,000 tokens. Memories are far shorter."""
_PROBE = "memory"
_TRIES = 4


class EmbeddingServer:
    """``/v1/embeddings`` of MEMSCHED_EMBEDDING_BASE_URL, in batches, each text once."""

    def __init__(self, settings: Settings, model: str) -> None:
        self._settings = settings
        self._model = model
        self._asked_dimensions = settings.embedding_dimensions
        self.dimensions = settings.embedding_dimensions
        suffix = f"@{self._asked_dimensions}" if self._asked_dimensions else ""
        self.name = f"openai:{model}{suffix}"
        self._cache = EmbeddingCache()
        self._client: AsyncOpenAI | None = None

    async def prepare(self) -> None:
        """Learns the dimensions from one call, unless they are set."""
        if not self.dimensions:
            (vector,) = await self._ask([_PROBE], expected=0)
            self.dimensions = len(vector)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        found = {text: vector for text in dict.fromkeys(texts) if (vector := self._cache.get(text)) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        size = self._settings.embedding_batch
        for at in range(0, len(missing), size):
            batch = missing[at : at + size]
            for text, vector in zip(batch, await self._ask(batch, expected=self.dimensions), strict=True):
                found[text] = vector
                self._cache.put(text, vector)
        return [found[text] for text in texts]

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        (vector,) = await self.embed_documents([text])
        return vector

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    # -- calls ---------------------------------------------------------------------------------------------------

    async def _ask(self, texts: Sequence[str], expected: int) -> list[list[float]]:
        """The vectors of one batch, of length 1; tried again within the time limit where that may help."""
        pause = 0.2
        failure = self._failed("no answer in time", temporary=True)
        try:
            async with asyncio.timeout(self._settings.embedding_timeout_seconds):
                for _ in range(_TRIES):
                    try:
                        return await self._ask_once(texts, expected)
                    except EmbeddingError as error:
                        failure = error
                        if not error.temporary:
                            raise
                    await asyncio.sleep(random.uniform(pause / 2, pause))
                    pause *= 3
        except TimeoutError:
            pass
        raise failure

    async def _ask_once(self, texts: Sequence[str], expected: int) -> list[list[float]]:
        import openai

        client = self._connected()
        # Servers refuse an empty text; a space means as little.
        inputs = [text[:MAX_CHARACTERS] or " " for text in texts]
        try:
            if self._asked_dimensions:
                answer = await client.embeddings.create(
                    model=self._model, input=inputs, encoding_format="float", dimensions=self._asked_dimensions
                )
            else:
                answer = await client.embeddings.create(model=self._model, input=inputs, encoding_format="float")
        except openai.APIStatusError as error:
            temporary = error.status_code in (408, 409, 429) or error.status_code >= 500
            advice = {
                401: "see MEMSCHED_EMBEDDING_API_KEY",
                403: "see MEMSCHED_EMBEDDING_API_KEY",
                404: "see MEMSCHED_EMBEDDING_MODEL and MEMSCHED_EMBEDDING_BASE_URL",
            }.get(error.status_code, "")
            raise self._failed(
                f"it answered {error.status_code}{': ' + advice if advice else ''}", temporary=temporary
            ) from error
        except openai.APIConnectionError as error:
            raise self._failed("it cannot be reached", temporary=True) from error
        except openai.OpenAIError as error:
            raise self._failed(type(error).__name__, temporary=False) from error
        except (ValueError, TypeError, AttributeError) as error:  # an answer that is no JSON, or of another shape
            raise self._failed("its answer is no list of embeddings", temporary=True) from error
        rows = sorted(answer.data or [], key=lambda row: row.index)
        if len(rows) != len(texts):
            raise self._failed(f"it gave {len(rows)} vectors for {len(texts)} texts", temporary=False)
        vectors = [unit(row.embedding) for row in rows]
        wrong = next((len(vector) for vector in vectors if len(vector) != (expected or len(vectors[0]))), None)
        if wrong is not None:
            raise self._failed(f"it gave {wrong} dimensions, not {expected or len(vectors[0])}", temporary=False)
        return vectors

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(
                api_key=self._settings.embedding_api_key.get_secret_value() or "none",
                base_url=self._settings.embedding_base_url or "https://api.openai.com/v1",
                timeout=self._settings.embedding_timeout_seconds,
                max_retries=0,
            )
        return self._client

    def _failed(self, reason: str, *, temporary: bool) -> EmbeddingError:
        where = masked(self._settings.embedding_base_url) or "OpenAI"
        return EmbeddingError(f"The embedding model {self._model} at {where} failed: {reason}.", temporary=temporary)


def unit(vector: Sequence[float]) -> list[float]:
    """The vector at length 1. Raises EmbeddingError for one that has none, or is no vector."""
    length = math.sqrt(sum(value * value for value in vector))
    if not math.isfinite(length) or length == 0:
        raise EmbeddingError("The embedding model gave a vector without a length.", temporary=False)
    return [value / length for value in vector]
