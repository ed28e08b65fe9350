"""The Qdrant client that a store URL means (a server's, the embedded process's, or one inside this process), and
retries with backoff for its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from memsched.backoff import backoff
from memsched.embedded.vector_server import ensure_vector_server, release_vector_server, vector_client_options
from memsched.errors import EmbeddedServerError, MemschedError
from memsched.logs import get_logger
from memsched.memory.store.errors import StoreRefused, StoreUnavailable
from memsched.settings import Settings, masked

log = get_logger(__name__)

T = TypeVar("T")
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_MEMORY = ":memory:"
_in_process: dict[str, AsyncQdrantClient] = {}
"""Shared like the fake Redis of memory://: whoever opens the same name in this process sees the same memories."""


async def open_client(settings: Settings) -> tuple[AsyncQdrantClient, Callable[[], None] | None]:
    """The client, and what must be called (in a thread) when it is not needed any more."""

    url = settings.store_url
    if url == _MEMORY:
        name = settings.redis_url if settings.redis_url.startswith("memory://") else ""
        if name not in _in_process:
            _in_process[name] = AsyncQdrantClient(location=_MEMORY)
        return _in_process[name], None
    if url.startswith("embedded://"):
        folder = settings.embedded_folder(url)
        wait = max(settings.connect_timeout_seconds, 5.0)
        socket = await asyncio.to_thread(ensure_vector_server, folder, timeout_seconds=wait)
        return AsyncQdrantClient(**vector_client_options(socket)), lambda: release_vector_server(folder)
    key = settings.qdrant_api_key.get_secret_value() or None
    timeout = max(1, int(settings.store_timeout_seconds))
    return AsyncQdrantClient(url=url, api_key=key, timeout=timeout, check_compatibility=False), None


async def close_client(client: AsyncQdrantClient, url: str) -> None:
    if url != _MEMORY:
        await client.close()


async def with_retries(settings: Settings, ask: Callable[[], Awaitable[T]], on_gone: Callable[[], None]) -> T:
    """Ask, and again after a pause (backoff with jitter) where that may help. Raises as ``translated`` says.

    Args:
        on_gone: called before it is asked again because the collection is not there.
    """
    for attempt in range(settings.store_retries + 1):
        try:
            return await ask()
        except Exception as error:  # what the client raises depends on its transport
            failure = translated(error, masked(settings.store_url))
            if not isinstance(failure, StoreUnavailable) or attempt == settings.store_retries:
                raise failure from error
            if failure.collection_is_gone:
                on_gone()
            elif not isinstance(error, TimeoutError):  # what does not answer in time is there
                await _restart_embedded(settings)
            log.debug(
                "the vector store did not answer; asking again",
                action="store.retry",
                attempt=attempt + 1,
                error=str(failure),
            )
        await asyncio.sleep(backoff(attempt, base=_FIRST_PAUSE_SECONDS, cap=_LONGEST_PAUSE_SECONDS, least=0.5))
    raise AssertionError("unreachable")


def translated(error: Exception, url: str) -> MemschedError:
    """The error of ours that says what one of the client means."""
    if isinstance(error, MemschedError):
        return error
    if isinstance(error, TimeoutError):
        return StoreUnavailable(url, "no answer in time")
    if isinstance(error, UnexpectedResponse):
        said = error.content.decode(errors="replace")[:300] if error.content else error.reason_phrase
        if error.status_code in _TRANSIENT:
            return StoreUnavailable(url, f"{error.status_code} {said}")
        if error.status_code == 404:  # dropped, or replaced by a reindex
            return StoreUnavailable(url, f"404 {said}", collection_is_gone=True)
        if error.status_code in (401, 403):
            return StoreRefused(
                f"The vector store at {url} refused the key ({error.status_code}): see MEMSCHED_QDRANT_API_KEY."
            )
        return StoreRefused(f"The vector store at {url} refused a call: {error.status_code} {said}")
    if isinstance(error, (ApiException, OSError)):
        return StoreUnavailable(url, str(error) or type(error).__name__)
    return StoreRefused(f"The vector store at {url} cannot do that: {type(error).__name__}: {error}")


class RetryingClient:
    """A client whose calls have a time limit and retries where they may help: each must be idempotent."""

    def __init__(self, settings: Settings, client: AsyncQdrantClient) -> None:
        self._settings = settings
        self._client = client

    async def ask(self, ask: Callable[[AsyncQdrantClient], Awaitable[T]], seconds: float = 0.0) -> T:
        """The answer. Raises StoreUnavailable and StoreRefused.

        Args:
            seconds: each attempt may take at least so long.
        """

        async def once() -> T:
            async with asyncio.timeout(max(seconds, self._settings.store_timeout_seconds)):
                return await ask(self._client)

        return await with_retries(self._settings, once, on_gone=lambda: None)

    async def pages(self, collection: str, size: int) -> AsyncIterator[Sequence[models.Record]]:
        """All points of a collection with their payloads, whoever's they are, in the order of their ids."""
        offset: Any = None
        while True:
            records, offset = await self.ask(
                lambda client, offset=offset: client.scroll(  # type: ignore[misc]
                    collection, limit=size, offset=offset, with_payload=True
                )
            )
            yield records
            if offset is None:
                return


async def _restart_embedded(settings: Settings) -> None:
    """Start the embedded process again if it is gone for good; its watchdog does so only while it lives itself."""
    if settings.store_url.startswith("embedded://"):
        folder = settings.embedded_folder(settings.store_url)
        try:
            await asyncio.to_thread(ensure_vector_server, folder, timeout_seconds=settings.store_timeout_seconds)
        except EmbeddedServerError as error:
            log.warning("the vector process cannot be started", action="store.not_started", error=str(error))


def datatype_for(settings: Settings) -> str:
    """How vectors are stored. The engine of the embedded process knows more than servers in use may know."""
    return "turbo8" if settings.store_url.startswith("embedded://") else "float16"


def is_in_process(client: AsyncQdrantClient) -> bool:
    """Whether the client is its own store."""
    return client.init_options.get("location") == _MEMORY


async def query_batch(
    client: AsyncQdrantClient, collection: str, requests: Sequence[models.QueryRequest]
) -> list[models.QueryResponse]:
    """``client.query_batch_points``, without its deep copies and its look for texts to embed: half of a search."""
    if not is_in_process(client):
        batch = models.QueryRequestBatch(searches=list(requests))
        answer = await client.http.search_api.query_batch_points(collection, query_request_batch=batch)
        return answer.result or []
    return await client.query_batch_points(collection, requests)


async def update_vectors(client: AsyncQdrantClient, collection: str, points: Sequence[models.PointVectors]) -> None:
    """``client.update_vectors``, but that points may be gone: the others are written all the same."""
    operation = models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=list(points)))
    try:
        await client.batch_update_points(collection, [operation], wait=True)
    except UnexpectedResponse as error:
        if error.status_code != 404 or b"No point with id" not in error.content:
            raise
    except KeyError:
        if not is_in_process(client):
            raise
