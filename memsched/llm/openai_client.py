"""The client of an OpenAI-compatible server, for chat and for embeddings: all that knows the openai library.

The only module that imports this library, which takes most of a second: import it where a server is opened.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAIError, Timeout

from memsched.llm.endpoint import Endpoint
from memsched.llm.server_errors import ServerError, status_error
from memsched.logs import get_logger

log = get_logger(__name__)

_CONNECT_SECONDS = 5.0
_NO_KEY = "none"
"""Servers on one's own machine want no key; the library sends one in any case."""


class OpenAIClient:
    """A connection pool to one server. Every request raises ServerError, and nothing of the library's.

    It retries nothing by itself, and limits only the time to connect: deadline and backoff are the caller's.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        # A call is limited as a whole by its deadline; the library's own limit would be on each silence.
        timeout = Timeout(None, connect=_CONNECT_SECONDS)
        key = endpoint.key or _NO_KEY
        self._client = AsyncOpenAI(api_key=key, base_url=endpoint.url, max_retries=0, timeout=timeout)
        # Where the library imports the rest of itself: not within the first request's time.
        self._completions = self._client.chat.completions
        self._embeddings = self._client.embeddings
        self.closed = False

    async def chat(self, request: Mapping[str, Any]) -> bytes:
        """Return the body of the answer to a chat completion."""
        return await self._post(self._completions.with_raw_response.create, request)

    async def embed(self, request: Mapping[str, Any]) -> bytes:
        """Return the body of the answer to a request for embeddings."""
        return await self._post(self._embeddings.with_raw_response.create, request)

    async def stream_chat(self, request: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield the chunks of a streamed chat completion, as the library has them. Close it (``aclosing``)."""
        failure: ServerError | None = None
        stream: Any = None
        try:
            stream = await self._completions.create(**request, stream=True)
            async for chunk in stream:
                yield chunk
        except (OpenAIError, RuntimeError, ValueError) as error:
            failure = self._failure(error)
        finally:
            if stream is not None:
                await stream.close()
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        """Requests that are running end with a ServerError, and so do later ones."""
        self.closed = True
        await self._client.close()

    async def _post(self, create: Callable[..., Awaitable[Any]], request: Mapping[str, Any]) -> bytes:
        try:
            response = await create(**request)
        except (OpenAIError, RuntimeError) as error:
            failure = self._failure(error)
        else:
            body: bytes = response.http_response.content
            return body
        # Out of the handler: the library's exception, with the request and all it holds, shall not travel with ours.
        raise failure

    def _failure(self, error: Exception) -> ServerError:
        """What an exception of the library means; any other is raised again."""
        base_url = self._endpoint.variable("base_url")
        if isinstance(error, openai.APIStatusError):
            return status_error(
                self._endpoint,
                error.status_code,
                headers=error.response.headers,
                code=error.code or error.type,
                complaint=self._complaint(error),
            )
        if isinstance(error, openai.APIConnectionError):
            cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
            reason = f"{self._endpoint.address}: {cause}. Check {base_url}, and that the server runs."
            return ServerError(reason, kind="unreachable")
        # A line of a stream that is no JSON is a ValueError.
        if isinstance(error, openai.APIResponseValidationError | ValueError):
            reason = f"{self._endpoint.address} did not send what such a server sends. Check {base_url}."
            return ServerError(reason, kind="invalid_answer")
        if isinstance(error, OpenAIError):
            reason = f"{self._endpoint.address} reported an error while it answered."
            return ServerError(reason, kind="server_error", complaint=self._complaint(error))
        if self.closed:
            return ServerError("This client was closed.", kind="closed")
        raise error

    def _complaint(self, error: OpenAIError) -> str:
        """What the server said. Also to the debug log, which may hold texts, but never the key."""
        said = self._endpoint.without_key(f"{error} {getattr(error, 'body', '')}")
        log.debug(
            "the model's server complained",
            action="llm.complaint" if self._endpoint.purpose == "llm" else "embedding.complaint",
            complaint=said[:2000],
        )
        return said
