"""Event streams (SSE): FastAPI sends a comment every 15 s, which is how a lost client is found out, and ends the
generator then. A stream also ends with the service.

    @router.get("/v1/...", response_class=EventSourceResponse)
    async def watch(here: Here, after: LastEventId) -> AsyncIterator[ServerSentEvent]:
        async for each in until_stopped(here, source()):
            yield ServerSentEvent(event="moved", id=each.id, data=...)
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, TypeVar

from fastapi import Header
from pydantic import AfterValidator

from memsched.service.state import Service

T = TypeVar("T")

_CANCEL_AGAIN_SECONDS = 0.5


def _one_line(value: str | None) -> str | None:
    return value if value and re.fullmatch(r"[\x21-\x7e]{1,128}", value) else None


LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="The last event that was received: go on after it."),
    AfterValidator(_one_line),
]


async def until_stopped(service: Service, source: AsyncGenerator[T, None]) -> AsyncIterator[T]:
    """What ``source`` yields, until it ends or the service does. The source is closed in the end."""
    stopping = asyncio.create_task(service.stopping.wait())
    try:
        async with aclosing(source):
            while True:
                following = asyncio.ensure_future(anext(source))
                try:
                    await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    # Before Python 3.12, asyncio.wait_for (in memory://) loses a cancellation now and then.
                    while not following.done():
                        following.cancel()
                        await asyncio.wait({following}, timeout=_CANCEL_AGAIN_SECONDS)
                if following.cancelled():
                    return
                try:
                    yield following.result()
                except StopAsyncIteration:
                    return
    finally:
        stopping.cancel()
