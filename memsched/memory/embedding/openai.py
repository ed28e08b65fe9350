"""Embeddings of any OpenAI-compatible server: in batches, retried within a deadline, cached, and checked."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memsched.deadline import Deadline
from memsched.llm.endpoint import Endpoint
from memsched.llm.server_errors import NOT_ACCEPTED, ServerError
from memsched.logs import get_logger
from memsched.memory.embedding.cache import EmbeddingCache
from memsched.memory.embedding.embedder import EmbeddingError, truncate
from memsched.memory.embedding.vectors import NotFinite, as_lists, unit_rows
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.llm.openai_client import OpenAIClient

log = get_logger(__name__)

MAX_TEXT_BYTES = 8000
"""Of a longer text only so much is embedded: OpenAI takes 8,192 tokens, and a token is one byte or more."""
_SHORTER_BYTES = (4000, 2000, 1000, 500, 250)
"""What is tried next for a text that the server refuses: a model of 512 tokens takes about 2,000 bytes of English,
and 500 of anything.
"""
_CALL_BYTES = 256 * 1024
"""OpenAI takes 300,000 tokens in one call."""
_CALLS_AT_ONCE = 8
_MAX_RETRIES = 3
_MAYBE_A_TEXT = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
"""A server, or what stands before it, may say so for one text alone."""
_NO_TEXT = "."
"""Sent for an empty text, which servers refuse. And a text that a model in order does not refuse."""

_TOO_LONG = re.compile(r"too (large|long)|context (size|length)|exceeds?\b", re.IGNORECASE)
"""llama.cpp's server says so with a 500."""


class _Refused(EmbeddingError):
    """The embedding model did not give vectors."""


class OpenAIEmbedder:
    """An Embedder. Each call, with its retries, has embedding_timeout_seconds from when it is its turn."""

    may_embed_later = True

    def __init__(self, settings: Settings, model: str) -> None:
        self._settings = settings
        self._model = model
        self._endpoint = Endpoint.checked("embedding", settings.embedding_base_url, settings.embedding_api_key, model)
        self._slots = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._cache = EmbeddingCache(model, self._embed, self._batches)
        self.name = f"openai:{model}"
        self.dimensions = settings.embedding_dimensions

    async def prepare(self) -> None:
        """Unless embedding_dimensions says it, the server is asked for one vector to learn its dimensions."""
        await asyncio.to_thread(self._open)
        if not self.dimensions:
            await self._ask(["memory"])

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if not texts:
            return []
        vectors = await self._cache.vectors([truncate(text, MAX_TEXT_BYTES).strip() or _NO_TEXT for text in texts])
        return as_lists(_unpacked(vectors))

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        return (await self.embed_documents([text]))[0]

    async def aclose(self) -> None:
        """Calls that are running end with an EmbeddingError, and so do later ones."""
        await self._cache.aclose()
        if "_client" in self.__dict__:
            await self._client.aclose()

    def _open(self) -> None:
        """Takes most of a second."""
        _ = self._client

    @cached_property
    def _client(self) -> OpenAIClient:
        # Not above: it imports the openai library, which shall not stop the event loop.
        from memsched.llm.openai_client import OpenAIClient

        return OpenAIClient(self._endpoint)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """The texts in order, in batches of at most embedding_batch texts and _CALL_BYTES of UTF-8 (or one text)."""
        batch: list[str] = []
        size = 0
        for text in texts:
            length = len(text.encode("utf-8", "replace"))
            if batch and (len(batch) == self._settings.embedding_batch or size + length > _CALL_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(text)
            size += length
        if batch:
            yield batch

    async def _embed(self, texts: list[str]) -> list[bytes]:
        async with self._slots:
            try:
                rows: Sequence[NDArray[Any]] = list(await self._ask(texts))
            except _Refused:
                await self._ask([_NO_TEXT])  # when this is refused too, it is not for the texts
                rows = await self._embed_apart(texts)
        return [row.tobytes() for row in rows]

    async def _embed_apart(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Halves of a batch that was refused, and halves of these: what becomes of a text depends on it alone.

        The server answers another text, so nothing is tried twice.
        """
        if len(texts) == 1:
            return [await self._embed_refused(texts[0])]
        rows: list[NDArray[Any]] = []
        for half in (texts[: len(texts) // 2], texts[len(texts) // 2 :]):
            try:
                rows.extend(await self._ask(half, retries=0))
            except _Refused:
                rows += await self._embed_apart(half)
        return rows

    async def _embed_refused(self, text: str) -> NDArray[Any]:
        """Of a text that was refused alone: once more; then its beginning; then zeros."""
        length = len(text.encode())
        for limit in (length, *(limit for limit in _SHORTER_BYTES if limit < length)):
            try:
                row: NDArray[Any] = (await self._ask([truncate(text, limit)], retries=0))[0]
            except _Refused:
                continue
            else:
                if limit < length:
                    log.info(
                        "a text was too long for the embedding model; its beginning was embedded",
                        action="embedding.shortened",
                        model=self._model,
                        bytes=length,
                        used=limit,
                    )
                return row
        log.warning(
            "the embedding model refuses a text; only its words will find it",
            action="embedding.refused",
            model=self._model,
            bytes=length,
        )
        return np.zeros(self.dimensions, dtype=np.float32)

    async def _ask(self, texts: Sequence[str], retries: int = _MAX_RETRIES) -> NDArray[Any]:
        """[texts, dimensions] of float32, of length 1. Retries what may succeed, while there is time.

        Raises _Refused where it may be for one of the texts.
        """
        client = self._client  # opened on nobody's time
        deadline = Deadline(self._settings.embedding_timeout_seconds)
        request: dict[str, Any] = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        if self._settings.embedding_dimensions:
            request["dimensions"] = self._settings.embedding_dimensions
        tries = 0
        while True:
            try:
                async with asyncio.timeout(deadline.left):
                    body = await client.embed(request)
                return self._checked(body, len(texts))
            except NotFinite as error:
                raise _Refused(str(error), temporary=False) from error
            except TimeoutError:
                failure = None
            except ServerError as error:
                failure = error
            if failure is None:
                limit = f"{deadline.seconds:g} s (MEMSCHED_EMBEDDING_TIMEOUT_SECONDS)"
                raise EmbeddingError(f"{self._endpoint.address} did not answer within {limit}.", temporary=True)
            delay = failure.delay(tries)
            retriable = failure.retriable and not _is_refusal(failure)
            if not retriable or delay >= deadline.left or tries == retries:
                raise self._error(failure)
            log.info(
                "a call of the embedding model failed; it is repeated",
                action="embedding.retry",
                model=self._model,
                status=failure.status,
                delay_seconds=round(delay, 3),
            )
            await asyncio.sleep(delay)
            tries += 1

    def _error(self, failure: ServerError) -> EmbeddingError:
        if _is_refusal(failure):
            dimensions = self._settings.embedding_dimensions
            advice = f" Can {self._model} give {dimensions} dimensions (MEMSCHED_EMBEDDING_DIMENSIONS)?"
            return _Refused(f"{failure.reason}{advice if dimensions else ''}", temporary=False)
        kind = _Refused if failure.status in _MAYBE_A_TEXT else EmbeddingError
        return kind(failure.reason, temporary=failure.retriable, retry_after=failure.retry_after)

    def _checked(self, body: bytes, count: int) -> NDArray[Any]:
        read = _read(body, count)
        try:
            rows = unit_rows(read)
        except NotFinite:
            raise
        except EmbeddingError:
            if (usable := _usable(read, self.dimensions)) is None:
                raise
            rows = unit_rows(usable)
        given = rows.shape[1]
        if self.dimensions and given != self.dimensions:
            advice = (
                f"Set MEMSCHED_EMBEDDING_DIMENSIONS to 0 or {given}"
                if self._settings.embedding_dimensions
                else "Is there another model behind MEMSCHED_EMBEDDING_BASE_URL now? Start the workers again"
            )
            problem = f"{self._endpoint.address} gave {given} dimensions instead of {self.dimensions}"
            kind = NotFinite if count == 1 else EmbeddingError  # one alone may be for its text
            raise kind(f"{problem}. {advice}.", temporary=False)
        self.dimensions = given
        return rows


def _usable(rows: list[Any], dimensions: int) -> list[Any] | None:
    """The rows, with no finite numbers in each that is none like the others: the model has no vector for its text.

    None where none is one. Raises NotFinite where there is no other.

    Args:
        dimensions: of the model; 0 where they are not known.
    """
    size = dimensions or next((len(row) for row in rows if _is_vector(row)), 0)
    fits = [_is_vector(row) and len(row) == size for row in rows]
    if not any(fits):
        if len(rows) == 1 and not _is_vector(rows[0]):
            raise NotFinite("It gave no vector.", temporary=False)
        return None
    return [row if fit else [math.nan] * size for row, fit in zip(rows, fits, strict=True)]


def _is_vector(row: Any) -> bool:
    return isinstance(row, list) and row != [] and all(isinstance(each, int | float) for each in row)


def _is_refusal(failure: ServerError) -> bool:
    """Whether it may be one of the texts."""
    if failure.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return bool(_TOO_LONG.search(failure.complaint))
    return failure.status in NOT_ACCEPTED


def _read(body: bytes, count: int) -> list[Any]:
    """The rows of an answer, in the order of the texts. Raises EmbeddingError."""
    try:
        items = json.loads(body)["data"]
        places = [item.get("index") for item in items]
        rows = [item.get("embedding") for item in items]
    except (ValueError, KeyError, TypeError, AttributeError):
        items = None
    if items is None:
        raise EmbeddingError("The server did not send embeddings. Check MEMSCHED_EMBEDDING_BASE_URL.", temporary=False)
    if 0 < len(rows) < count and _are_places(places, count):
        missing = sorted({*range(count)} - {*places})
        places, rows = [*places, *missing], [*rows, *[None] * len(missing)]
    if not rows and count == 1:
        return [None]
    if len(rows) != count:
        raise EmbeddingError(f"The server gave {len(rows)} vectors for {count} texts.", temporary=False)
    if all(place is None for place in places):
        return rows
    by_place = dict(zip(places, rows, strict=True)) if all(type(place) is int for place in places) else {}
    if by_place.keys() != set(range(count)):
        raise EmbeddingError("The server numbered its vectors wrongly.", temporary=False)
    return [by_place[place] for place in range(count)]


def _are_places(places: list[Any], count: int) -> bool:
    return all(type(place) is int and 0 <= place < count for place in places) and len({*places}) == len(places)


def _unpacked(vectors: Sequence[bytes]) -> NDArray[Any]:
    return np.frombuffer(b"".join(vectors), dtype=np.float32).reshape(len(vectors), -1)
