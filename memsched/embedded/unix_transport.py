"""Transport for httpx over a unix socket, with a connection pool: half the time of the general form.

It can no more than the vector server needs: requests with a body in memory, answers with a length; nothing is
streamed, redirected or encoded. A request whose connection breaks is not repeated here: the store above does that.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import httpx

from memsched.backoff import poll_pauses
from memsched.deadline import Deadline


class UnixTransport(httpx.AsyncBaseTransport):
    """Speaks to the server at ``socket_path``.

    Args:
        connect_seconds: for how long a refused connection is tried again; 0 is once.
    """

    def __init__(self, socket_path: str, *, connect_seconds: float) -> None:
        self._path = socket_path
        self._connect_seconds = connect_seconds
        self._idle: list[_Connection] = []
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        timeouts = request.extensions.get("timeout", {})
        message = _head(request, len(body)) + body
        connection = self._idle_connection() or await self._connect()
        try:
            async with asyncio.timeout(timeouts.get("read")):
                status, headers, content = await connection.ask(message)
        except TimeoutError as error:
            connection.close()
            raise httpx.ReadTimeout("the vector server did not answer in time", request=request) from error
        except _BrokenError as error:
            raise httpx.RemoteProtocolError("the vector server closed the connection", request=request) from error
        except BaseException:
            connection.close()  # its answer is still to come, and would be taken for the next one's
            raise
        if self._closed or not connection.reusable:
            connection.close()
        else:
            self._idle.append(connection)
        return httpx.Response(status, headers=headers, content=content, request=request)

    def _idle_connection(self) -> _Connection | None:
        while self._idle:
            if not (connection := self._idle.pop()).broken:
                return connection
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        deadline = Deadline(self._connect_seconds)
        for pause in poll_pauses(0.05, 0.4):
            try:
                _, connection = await loop.create_unix_connection(_Connection, self._path)
            except OSError as error:
                if deadline.left < pause:
                    raise httpx.ConnectError(f"no vector server at {self._path}: {error}") from error
            else:
                return connection
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class _BrokenError(Exception):
    """The connection ended before the answer did."""


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[tuple[int, list[tuple[bytes, bytes]], bytes]] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self.broken = False
        self.reusable = True

    async def ask(self, message: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if self.broken or self._transport is None:
            raise _BrokenError
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._parts = [], []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self._fail()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail()

    def _fail(self) -> None:
        self.broken = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(_BrokenError())
        self.close()

    # -- the parser's calls --------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self.reusable = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), self._headers, b"".join(self._parts)))


def _head(request: httpx.Request, length: int) -> bytes:
    """The request line and headers. The client's own length is replaced: the body is in memory."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [
        b"%b: %b" % (name, value)
        for name, value in request.headers.raw
        if name.lower() not in (b"content-length", b"transfer-encoding", b"connection", b"accept-encoding")
    ]
    lines.append(b"content-length: %d\r\n\r\n" % length)
    return b"\r\n".join(lines)
