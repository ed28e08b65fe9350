"""Answers of another server, passed on as they arrive; and what ends when the client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from memsched.logs import get_logger
from memsched.service.problems import Problem

log = get_logger(__name__)

Value = TypeVar("Value")
_NOBODY_WAITS = 499


class ClientGone(Problem):
    """Nobody waits for the answer any more: what is answered is for the log."""

    def __init__(self) -> None:
        super().__init__(_NOBODY_WAITS, "Whoever asked has gone.")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Value]) -> Value:
    """What ``work`` returns; it is cancelled when the client goes, and ClientGone raised.

    Args:
        receive: of a request whose body was read.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Relay(Response):
    """An answer whose bytes go on in the pieces in which they come. What its server breaks off is broken off here too.

    Args:
        answer: whose beginning has come. It is closed in any case: so its server stops when the client goes.
        headers: raw, for the client.
        heard: is told each piece after it went on.
        ended: is called at the end, however it came.
    """

    def __init__(
        self,
        answer: httpx.Response,
        headers: list[tuple[bytes, bytes]],
        heard: Callable[[bytes], None] = lambda _: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.status_code = answer.status_code
        self.raw_headers = headers
        self.background = None
        self._answer = answer
        self._heard = heard
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._pass_on(send))
        except ClientGone:
            log.info("a client left before a model's answer was at its end", action="proxy.client_gone")
        except httpx.HTTPError as error:
            # Without a last piece the server closes the connection: the client sees what happened.
            log.warning(
                "the model's server broke its answer off", action="proxy.broken_off", error=type(error).__name__
            )
        finally:
            self._ended()
            await self._answer.aclose()

    async def _pass_on(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._answer.aiter_bytes():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            self._heard(piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
