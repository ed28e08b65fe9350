"""Embeddings from any OpenAI-compatible server: batches, repetition within a time, and answers that are checked."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from memsched.errors import SettingsError
from memsched.llm.server_errors import OPENAI_URL, retry_after
from memsched.memory.embedding.cache import EmbeddingCache
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.embedding.texts import batches, cut
from memsched.memory.embedding.vectors import as_lists, unit_rows
from memsched.settings import Settings, masked

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from openai import AsyncOpenAI, OpenAIError

log = structlog.get_logger(__name__)

MAX_TEXT_BYTES = 8000
"""Of a longer text only so much is embedded: OpenAI takes 8,192 tokens, and a token is one byte or more."""
_SHORTER_BYTES = (4000, 2000, 1000, 500, 250)
"""What is tried next for a text that the server refuses: a model of 512 tokens takes about 2,000 bytes of English,
and 500 of anything.
"""
_CALL_BYTES = 256 * 1024
"""OpenAI takes 300,000 tokens in one call."""
_CALLS_AT_ONCE = 8
_CONNECT_SECONDS = 5.0
_REPETITIONS = 3
_BACKOFF_SECONDS = 0.25
_NO_KEY = "none"
"""Servers on one's own machine want no key; the library sends one in any case."""
_NO_TEXT = "."
"""Sent for an empty text, which servers refuse. And a text that a model in order does not refuse."""

_REPEATABLE = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
"""And every 5xx."""
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
_TOO_LONG = re.compile(r"too (large|long)|context (size|length)|exceeds?\b", re.IGNORECASE)
"""llama.cpp's server says so with a 500."""
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class _Failed(EmbeddingError):
    """The embedding model did not give vectors."""

    def __init__(
        self, message: str, *, temporary: bool, refused: bool = False, status: int = 0, retry_after: float | None = None
    ) -> None:
        """refused: it may be one of the texts. status: of HTTP, or 0."""
        super().__init__(message, temporary=temporary, retry_after=retry_after)
        self.refused = refused
        self.status = status


class OpenAIEmbedder:
    """Each call, with its repetitions, has embedding_timeout_seconds from when it is its turn."""

    def __init__(self, settings: Settings, model: str) -> None:
        self._settings = settings
        self._model = model
        self._url = settings.embedding_base_url or OPENAI_URL
        self._key = settings.embedding_api_key.get_secret_value().strip()
        _check(self._url, self._key)
        self._address = masked(self._url)
        self._places = asyncio.Semaphore(_CALLS_AT_ONCE)
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
        vectors = await self._cache.vectors([cut(text, MAX_TEXT_BYTES).strip() or _NO_TEXT for text in texts])
        return as_lists(_unpacked(vectors))

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        return (await self.embed_documents([text]))[0]

    async def aclose(self) -> None:
        """Calls that are running end with an EmbeddingError, and so do later ones."""
        await self._cache.aclose()
        if "_client" in self.__dict__:
            await self._client.close()

    def _open(self) -> None:
        """Most of a second. The library imports its resources when they are first asked for."""
        import numpy  # noqa: F401
        import openai.resources.embeddings  # noqa: F401

        _ = self._client

    @cached_property
    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, Timeout

        # A call is limited as a whole; the library's own limit would be on each silence.
        timeout = Timeout(None, connect=_CONNECT_SECONDS)
        return AsyncOpenAI(api_key=self._key or _NO_KEY, base_url=self._url, max_retries=0, timeout=timeout)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        return batches(texts, self._settings.embedding_batch, _CALL_BYTES)

    async def _embed(self, texts: list[str]) -> list[bytes]:
        async with self._places:
            try:
                rows: Sequence[NDArray[Any]] = list(await self._ask(texts))
            except _Failed as refusal:
                if not refusal.refused:
                    raise
                await self._ask([_NO_TEXT])  # when this is refused too, it is not for the texts
                rows = await self._embed_apart(texts)
        return [row.tobytes() for row in rows]

    async def _embed_apart(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Halves of a batch that was refused, and halves of these: what becomes of a text depends on it alone."""
        if len(texts) == 1:
            return [await self._embed_refused(texts[0])]
        rows: list[NDArray[Any]] = []
        for half in (texts[: len(texts) // 2], texts[len(texts) // 2 :]):
            try:
                rows.extend(await self._ask(half))
            except _Failed as refusal:
                if not refusal.refused:
                    raise
                rows += await self._embed_apart(half)
        return rows

    async def _embed_refused(self, text: str) -> NDArray[Any]:
        """Of a text that was refused alone: once more, for what comes of it stays; then its beginning; then zeros."""
        length = len(text.encode())
        for limit in (length, *(limit for limit in _SHORTER_BYTES if limit < length)):
            try:
                row: NDArray[Any] = (await self._ask([cut(text, limit)]))[0]
            except _Failed as refusal:
                if not refusal.refused:
                    raise
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
        import numpy as np

        return np.zeros(self.dimensions, dtype=np.float32)

    async def _ask(self, texts: Sequence[str]) -> NDArray[Any]:
        """[texts, dimensions] of float32, of length 1. Repeats what may succeed, while there is time."""
        deadline = asyncio.get_running_loop().time() + self._settings.embedding_timeout_seconds
        repeated = 0
        while True:
            try:
                return self._checked(await self._send(texts, deadline), len(texts))
            except _Failed as failure:
                delay = failure.retry_after
                if delay is None:
                    cap = _BACKOFF_SECONDS * 2**repeated
                    delay = random.uniform(cap / 2, cap)
                late = asyncio.get_running_loop().time() + delay >= deadline
                if not failure.temporary or late or repeated == _REPETITIONS:
                    raise
                log.info(
                    "a call of the embedding model failed; it is repeated",
                    action="embedding.retry",
                    model=self._model,
                    status=failure.status,
                    delay_seconds=round(delay, 3),
                )
            await asyncio.sleep(delay)
            repeated += 1

    async def _send(self, texts: Sequence[str], deadline: float) -> bytes:
        """One request; the body of the answer."""
        from openai import OpenAIError

        body: dict[str, Any] = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        if self._settings.embedding_dimensions:
            body["dimensions"] = self._settings.embedding_dimensions
        failure: _Failed
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._client.embeddings.with_raw_response.create(**body)
            return response.http_response.content
        except TimeoutError:
            seconds = self._settings.embedding_timeout_seconds
            failure = _Failed(
                f"{self._address} did not answer within {seconds:g} s (MEMSCHED_EMBEDDING_TIMEOUT_SECONDS).",
                temporary=True,
            )
        except OpenAIError as error:
            failure = self._failure(error)
        # Out of the handler: the library's exception, with the request and all it holds, shall not travel with ours.
        raise failure

    def _failure(self, error: OpenAIError) -> _Failed:
        import openai

        if not isinstance(error, openai.APIStatusError):
            cause = type(error.__cause__ or error).__name__
            return _Failed(
                f"{self._address}: {cause}. Check MEMSCHED_EMBEDDING_BASE_URL, and that the server runs.",
                temporary=True,
            )
        status = error.status_code
        complaint = f"{error} {error.body}"
        if self._key:
            complaint = complaint.replace(self._key, "***")
        log.debug("the embedding model's server complained", action="embedding.complaint", complaint=complaint[:2000])
        code = error.code or error.type
        # The sentence of a complaint may quote a text, or the key; its code does not.
        known = isinstance(code, str) and _CODE.fullmatch(code) and not (self._key and self._key in code)
        said = f"{self._address} says {status}{f' ({code})' if known else ''}"
        too_long = status == HTTPStatus.INTERNAL_SERVER_ERROR and _TOO_LONG.search(complaint)
        if status in _REFUSALS or too_long:
            dimensions = self._settings.embedding_dimensions
            advice = f" Can {self._model} give {dimensions} dimensions (MEMSCHED_EMBEDDING_DIMENSIONS)?"
            return _Failed(f"{said}.{advice if dimensions else ''}", temporary=False, refused=True, status=status)
        if status in _REPEATABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = retry_after(error.response.headers, time.time())
            return _Failed(f"{said}.", temporary=True, status=status, retry_after=wait)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return _Failed(f"{said}. Check MEMSCHED_EMBEDDING_API_KEY.", temporary=False, status=status)
        return _Failed(
            f"{said}. Check MEMSCHED_EMBEDDING_MODEL (openai:{self._model}) and MEMSCHED_EMBEDDING_BASE_URL.",
            temporary=False,
            status=status,
        )

    def _checked(self, body: bytes, count: int) -> NDArray[Any]:
        rows = unit_rows(_read(body, count))
        given = rows.shape[1]
        if self.dimensions and given != self.dimensions:
            advice = (
                f"Set MEMSCHED_EMBEDDING_DIMENSIONS to 0 or {given}"
                if self._settings.embedding_dimensions
                else "Is there another model behind MEMSCHED_EMBEDDING_BASE_URL now? Start the workers again"
            )
            raise EmbeddingError(
                f"{self._address} gave {given} dimensions instead of {self.dimensions}. {advice}.", temporary=False
            )
        self.dimensions = given
        return rows


def _read(body: bytes, count: int) -> list[Any]:
    """The rows of an answer, in the order of the texts. Raises EmbeddingError."""
    try:
        items = json.loads(body)["data"]
        places = [item.get("index") for item in items]
        rows = [item["embedding"] for item in items]
    except (ValueError, KeyError, TypeError, AttributeError):
        items = None
    if items is None:
        raise EmbeddingError("The server did not send embeddings. Check MEMSCHED_EMBEDDING_BASE_URL.", temporary=False)
    if len(rows) != count:
        raise EmbeddingError(f"The server gave {len(rows)} vectors for {count} texts.", temporary=False)
    if all(place is None for place in places):
        return rows
    by_place = dict(zip(places, rows, strict=True)) if all(type(place) is int for place in places) else {}
    if by_place.keys() != set(range(count)):
        raise EmbeddingError("The server numbered its vectors wrongly.", temporary=False)
    return [by_place[place] for place in range(count)]


def _unpacked(vectors: Sequence[bytes]) -> NDArray[Any]:
    import numpy as np

    return np.frombuffer(b"".join(vectors), dtype=np.float32).reshape(len(vectors), -1)


def _check(url: str, key: str) -> None:
    """Raises SettingsError; no message holds the key."""
    problems = []
    try:
        parts = urlsplit(url)
        _ = parts.port
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        problems.append("MEMSCHED_EMBEDDING_BASE_URL: must be http://HOST:PORT/v1 or https://HOST/v1.")
    if not (key.isascii() and key.isprintable()) or " " in key:
        problems.append("MEMSCHED_EMBEDDING_API_KEY: has characters that no key has.")
    if problems:
        raise SettingsError(problems)
