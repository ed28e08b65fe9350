"""Live parts of pages: one producer for each topic and process, which renders a frame once for all who look.

Whoever is slow gets the newest frame and not the ones in between. The producer begins with the first who looks and ends
with the last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from contextvars import Context

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from memsched.errors import MemschedError, UnreachableError
from memsched.logs import exception_field, get_logger
from memsched.memory.access.api_keys import Principal
from memsched.memory.access.reading_as import reading_as

log = get_logger(__name__)

EVERY_SECONDS = 1.0
SAID_AGAIN_SECONDS = 15.0
"""A frame that does not change is sent again after so long: that is how a client that left is found out."""
PATIENCE_SECONDS = 3.0
"""A frame that takes longer shows that a server is away."""
_LEAVES_AFTER_SECONDS = 15.0
"""A client that takes nothing for so long has gone."""

Produce = Callable[[], Awaitable[str]]


class Frames:
    """The topics of one process that somebody looks at.

    Args:
        stopping: set when the service ends: then the streams do.
        away: what is shown in place of a frame that could not be made.
    """

    def __init__(self, stopping: asyncio.Event, away: Callable[[Exception], str]) -> None:
        self._stopping = stopping
        self._away = away
        self._topics: dict[Hashable, _Topic] = {}

    @property
    def topics(self) -> dict[Hashable, int]:
        """By how many each topic is looked at."""
        return {name: topic.watchers for name, topic in self._topics.items()}

    def stream(
        self, caller: Principal, *name: Hashable, produce: Produce, seconds: float = EVERY_SECONDS
    ) -> FrameStream:
        """The answer to somebody who looks at a topic.

        Args:
            name: the topic, with all that its frames depend on: a frame is shown to everybody who names the same one,
                in the same roles of the access policy.
            produce: makes a frame, HTML.
            seconds: from one frame to the next.
        """
        return FrameStream(self._frames((*name, caller.reading_as), caller, produce, seconds))

    async def _frames(
        self, name: Hashable, caller: Principal, produce: Produce, seconds: float
    ) -> AsyncGenerator[bytes, None]:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(self._stopping, self._away, produce, seconds)
            topic.begin(caller)
        topic.watchers += 1
        seen = 0
        try:
            while not topic.is_over:
                if topic.number == seen:
                    await topic.changed.wait()
                    continue
                seen = topic.number
                yield topic.frame
        finally:
            topic.watchers -= 1
            if not topic.watchers:
                if self._topics.get(name) is topic:
                    del self._topics[name]
                topic.end()


class _Topic:
    def __init__(
        self, stopping: asyncio.Event, away: Callable[[Exception], str], produce: Produce, seconds: float
    ) -> None:
        self.watchers = 0
        self.number = 0
        self.frame = b""
        self.changed = asyncio.Event()
        self.is_over = False
        self._stopping = stopping
        self._away = away
        self._produce = produce
        self._seconds = seconds
        self._is_away = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, caller: Principal) -> None:
        """In a context of its own: what is read is nobody's request."""
        self._task = asyncio.get_running_loop().create_task(
            self._run(caller), name="memsched-frames", context=Context()
        )

    def end(self) -> None:
        self.is_over = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self, caller: Principal) -> None:
        said = float("-inf")
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                with reading_as(caller.reading_as):
                    frame = _event(await self._html())
                if frame != self.frame or began - said >= SAID_AGAIN_SECONDS:
                    self.frame, said = frame, began
                    self._tell()
                pause = max(0.0, self._seconds - (time.monotonic() - began))
                try:
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
                except TimeoutError:
                    continue
        finally:
            self.is_over = True
            self._tell()

    async def _html(self) -> str:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                html = await self._produce()
        except Exception as error:  # noqa: BLE001  whatever it is, those who look are told, and it is tried again
            if not self._is_away:
                self._is_away = True
                known = isinstance(error, MemschedError | UnreachableError | TimeoutError)
                told = {"error": repr(error)} if known else exception_field(error)
                log.warning("a page cannot be kept up to date", action="dashboard.away", **told)
            return self._away(error)
        self._is_away = False
        return html

    def _tell(self) -> None:
        self.number += 1
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


def _event(html: str) -> bytes:
    return "".join([*(f"data: {line}\n" for line in html.splitlines()), "\n"]).encode()


class FrameStream(Response):
    """Server-sent events, each a frame. It ends with its client: one that leaves, or takes nothing for long.

    Args:
        frames: events as bytes.
    """

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        self._frames = frames
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames until the client leaves or there are no more."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending, leaving = asyncio.ensure_future(self._send(send)), asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            has_left = leaving.done() or not sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not has_left:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> bool:
        """Whether the client took all of it."""
        async with aclosing(self._frames) as frames:
            try:
                async for frame in frames:
                    async with asyncio.timeout(_LEAVES_AFTER_SECONDS):
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
            except (TimeoutError, OSError):
                return False
        return True


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
