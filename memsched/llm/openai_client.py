"""The client of an OpenAI-compatible server, for chat and for embeddings: all that knows the openai library.

The only module that imports this library, which takes most of a second: import it where a server is opened.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import openai
from httpx import Response
from openai import AsyncOpenAI, AsyncStream, OpenAIError, Timeout
from openai._streaming import ServerSentEvent, SSEDecoder
from openai.types.chat import ChatCompletionChunk

from memsched.errors import EmbeddedServerError, EmbeddedServerNotReady
from memsched.llm.endpoint import Endpoint
from memsched.llm.local import LocalServer
from memsched.llm.responses import DONE, END, is_whole_event
from memsched.llm.server_errors import ServerError, status_error
from memsched.logs import get_logger

log = get_logger(__name__)

_CONNECT_SECONDS = 5.0
_ELSEWHERE = "http://127.0.0.1:9/v1"
"""Where nobody is: the URL of a server of our own until it runs."""
_NO_KEY = "none"
"""Servers on one's own machine want no key; the library sends one in any case."""


_STATUS_OF_WORDS = (
    ("rate_limit", HTTPStatus.TOO_MANY_REQUESTS),
    ("quota", HTTPStatus.TOO_MANY_REQUESTS),
    ("overloaded", HTTPStatus.SERVICE_UNAVAILABLE),
    ("unauthor", HTTPStatus.UNAUTHORIZED),
    ("authentication", HTTPStatus.UNAUTHORIZED),
    ("api_key", HTTPStatus.UNAUTHORIZED),
    ("permission", HTTPStatus.FORBIDDEN),
    ("not_found", HTTPStatus.NOT_FOUND),
    ("invalid", HTTPStatus.BAD_REQUEST),
    ("bad_request", HTTPStatus.BAD_REQUEST),
    ("badrequest", HTTPStatus.BAD_REQUEST),
    ("context_length", HTTPStatus.BAD_REQUEST),
)
"""What the code or the type of an error says that has no status."""


class _Decoder(SSEDecoder):
    """The library's, which also reads a last event behind which no blank line stands, if it is whole."""

    async def aiter_bytes(self, iterator: AsyncIterator[bytes]) -> AsyncIterator[ServerSentEvent]:
        at_end = False

        async def ended() -> AsyncIterator[bytes]:
            nonlocal at_end
            async for each in iterator:
                yield each
            at_end = True
            yield b"\n\n"

        async for event in super().aiter_bytes(ended()):
            if not at_end or is_whole_event(event.data):
                yield event


class _Stream(AsyncStream[ChatCompletionChunk]):
    """The library's stream, which also knows whether the server said that it is at its end."""

    ended = False

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._decoder = _Decoder()

    async def _iter_events(self) -> AsyncIterator[Any]:
        async for event in super()._iter_events():
            self.ended = self.ended or event.data.startswith(DONE)
            yield event


class OpenAIClient:
    """A connection pool to one server. Every request raises ServerError, and nothing of the library's.

    It retries nothing by itself, and limits only the time to connect: deadline and backoff are the caller's.
    """

    def __init__(
        self, endpoint: Endpoint, headers: Mapping[str, str] | None = None, local: LocalServer | None = None
    ) -> None:
        """Args:
        headers: sent with every request, beside the library's own.
        local: the server, when it is one of our own.
        """
        self._endpoint = endpoint
        self._local = local
        # A call is limited as a whole by its deadline; the library's own limit would be on each silence.
        timeout = Timeout(None, connect=_CONNECT_SECONDS)
        key = endpoint.key or _NO_KEY
        self._client = AsyncOpenAI(
            api_key=key,
            base_url=_ELSEWHERE if local else endpoint.url,
            max_retries=0,
            timeout=timeout,
            default_headers=headers,
        )
        # Where the library imports the rest of itself: not within the first request's time.
        self._completions = self._client.chat.completions
        self._embeddings = self._client.embeddings
        self.closed = False

    async def chat(self, request: Mapping[str, Any]) -> bytes:
        """Return the body of the answer to a chat completion."""
        known = {name: request[name] for name in ("model", "messages")}
        # What the library does not know of goes through too: servers know parameters of their own.
        rest = {name: value for name, value in request.items() if name not in known}
        return await self._post(self._completions.with_raw_response.create, {**known, "extra_body": rest})

    async def embed(self, request: Mapping[str, Any]) -> bytes:
        """Return the body of the answer to a request for embeddings."""
        return await self._post(self._embeddings.with_raw_response.create, request)

    async def models(self) -> list[str]:
        """Return the models that the server names."""
        body = await self._post(self._client.models.with_raw_response.list, {})
        try:
            return [str(each["id"]) for each in json.loads(body)["data"]]
        except (ValueError, KeyError, TypeError):
            raise ServerError("The server named no models.", kind="invalid_answer") from None

    async def manage(self, method: str, path: str, body: Any = None) -> Any:
        """Return what the server answers to a call beside its ``/v1``; None where that is no JSON.

        Whoever only looks looks once more where the connection is one of before the server began anew, or where a
        server of our own has begun anew and is still loading its model: that is waited for.

        Args:
            body: bytes are sent as they are, all else as JSON.
        """
        try:
            return await self._managed(method, path, body)
        except ServerError as error:
            is_starting = self._local is not None and error.status == HTTPStatus.SERVICE_UNAVAILABLE
            if method != "GET" or not (is_starting or error.kind == "unreachable"):
                raise
        return await self._managed(method, path, body)

    async def _managed(self, method: str, path: str, body: Any) -> Any:
        await self._find()
        own = self._local.server if self._local is not None else None
        url = f"{own.url if own else self._endpoint.root}{path}"
        sent: dict[str, Any] = {} if body is None else {"content": body} if isinstance(body, bytes) else {"body": body}
        try:
            if method == "GET":
                response = await self._client.get(url, cast_to=Response)
            else:
                call = self._client.post if method == "POST" else self._client.delete
                response = await call(url, cast_to=Response, **sent)
            return response.json() if response.content else None
        except (OpenAIError, RuntimeError) as error:
            failure = self._failure(error)
        except ValueError:
            return None
        raise failure

    async def beside(self, path: str) -> Mapping[str, Any] | None:
        """Return what the server answers to GET of a path beside its ``/v1``, if it is a JSON object; else None."""
        try:
            answer = await self.manage("GET", path)
        except ServerError as error:
            if (error.status and not error.retriable) or error.kind == "invalid_answer":
                return None
            raise  # also a 5xx: a server that is being started says that to everything
        return answer if isinstance(answer, dict) else None

    async def stream_chat(self, request: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield the chunks of a streamed chat completion, as the library has them, and END. Close it (``aclosing``).

        Without END it broke off, unless a chunk said why it ended.
        """
        failure: ServerError | None = None
        stream: _Stream | None = None
        await self._find()
        try:
            stream = await self._client.post(
                "/chat/completions",
                body={**request, "stream": True},
                cast_to=ChatCompletionChunk,
                stream=True,
                stream_cls=_Stream,
            )
            if "application/json" in stream.response.headers.get("content-type", ""):
                yield await self._whole(stream)  # by a server that streams nothing
                yield END
                return
            async for chunk in stream:
                yield chunk
            if stream.ended:
                yield END
        except (OpenAIError, RuntimeError, ValueError) as error:
            failure = self._failure(error)
        finally:
            if stream is not None:
                await stream.close()
        if failure is not None:
            raise failure

    async def _whole(self, stream: _Stream) -> Any:
        try:
            body = await stream.response.aread()
        except Exception as error:  # of the library's transport, which shows no classes of its own
            raise self._failure(openai.APIConnectionError(request=stream.response.request)) from error
        told = _told_error(body)
        if told is not None:
            raise self._error_within(told)
        return json.loads(body)

    async def aclose(self) -> None:
        """Requests that are running end with a ServerError, and so do later ones."""
        self.closed = True
        await self._client.close()
        if self._local is not None:
            await self._local.release()

    async def _find(self) -> None:
        """Have a server of our own run, wherever it is."""
        if self._local is None or self.closed:
            return
        try:
            # Also when it was found by others: its address and key are taken all the same.
            server = self._local.server or await self._local.ensure()
        except EmbeddedServerNotReady as error:
            raise ServerError(str(error), kind="unreachable") from None
        except EmbeddedServerError as error:
            raise ServerError(str(error), kind="misconfigured") from None
        self._client.base_url = f"{server.url}/v1"
        self._client.api_key = server.key

    async def _post(self, create: Callable[..., Awaitable[Any]], request: Mapping[str, Any]) -> bytes:
        await self._find()
        try:
            response = await create(**request)
        except (OpenAIError, RuntimeError) as error:
            failure = self._failure(error)
        else:
            body: bytes = response.http_response.content
            told = _told_error(body)
            if told is None:
                return body
            failure = self._error_within(told)
        # Out of the handler: the library's exception, with the request and all it holds, shall not travel with ours.
        raise failure

    def _failure(self, error: Exception) -> ServerError:
        """What an exception of the library means; any other is raised again."""
        base_url = self._endpoint.variable("base_url")
        if isinstance(error, openai.APIStatusError):
            if self._local is not None and error.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
                self._local.lose()  # it loads its model: whoever looks for it waits until it answers
            return status_error(
                self._endpoint,
                error.status_code,
                headers=error.response.headers,
                code=error.code or error.type,
                complaint=self._complaint(error),
            )
        if isinstance(error, openai.APIConnectionError):
            if self._local is not None:
                self._local.lose()
            cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
            reason = f"{self._endpoint.address}: {cause}. Check {base_url}, and that the server runs."
            return ServerError(reason, kind="unreachable")
        # A line of a stream that is no JSON is a ValueError.
        if isinstance(error, openai.APIResponseValidationError | ValueError):
            reason = f"{self._endpoint.address} did not send what such a server sends. Check {base_url}."
            return ServerError(reason, kind="invalid_answer")
        if isinstance(error, openai.APIError):
            return self._error_within(error.body)
        if isinstance(error, OpenAIError):
            reason = f"{self._endpoint.address} reported an error while it answered."
            return ServerError(reason, kind="server_error", complaint=self._complaint(error))
        if self.closed:
            return ServerError("This client was closed.", kind="closed")
        raise error

    def _error_within(self, told: Any) -> ServerError:
        """What an error means that came with status 200, from a gateway or in a stream: as if its own status came."""
        given: Mapping[str, Any] = told if isinstance(told, Mapping) else {"message": told}
        codes = [str(given.get(name) or "").casefold() for name in ("code", "status", "type")]
        status = next((int(code) for code in codes if code.isdecimal() and 400 <= int(code) < 600), None)
        if status is None:
            named = (status for word, status in _STATUS_OF_WORDS if any(word in code for code in codes))
            status = next(named, HTTPStatus.INTERNAL_SERVER_ERROR)
        code = next((code for code in codes if code and not code.isdecimal()), "")
        complaint = self._complaint(json.dumps(given, default=str))
        return status_error(self._endpoint, status, headers={}, code=code, complaint=complaint)

    def _complaint(self, error: OpenAIError | str) -> str:
        """What the server said. Also to the debug log, which may hold texts, but never the key."""
        said = self._endpoint.without_key(f"{error} {getattr(error, 'body', '')}")
        log.debug(
            "the model's server complained",
            action="embedding.complaint" if self._endpoint.purpose == "embedding" else "llm.complaint",
            complaint=said[:2000],
        )
        return said


def _told_error(body: bytes) -> Any:
    """The error that an answer with status 200 holds instead of an answer; None: none."""
    if b"error" not in body:
        return None
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    if answer.get("object") == "error":
        return answer
    return answer.get("error") or (first.get("error") if first.get("finish_reason") == "error" else None) or None
