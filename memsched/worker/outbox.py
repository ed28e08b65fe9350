"""The drain of the transactional outbox: follow-ups that wait in their parent's lane go on to their own.

Sending them on is safe to repeat: a follow-up that is known already is not submitted again. So whoever dies in between,
or does it at the same time as another, does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from memsched.broker.client import Server, answered
from memsched.broker.keys import Lane
from memsched.errors import ServerUnreachable, UnreachableError
from memsched.logs import exception_field, get_logger
from memsched.queue.outbox import batches, first_page, page_of, sent_on
from memsched.queue.submit import Producer

log = get_logger(__name__)

_SWEEP_SECONDS = 10.0


class Outbox:
    """Drains the outboxes of this worker's lanes: at once where this worker filled one; by the clock where another did
    who may be dead, for its batch is still there at the second look.
    """

    def __init__(self, server: Server, producer: Producer, lanes: Callable[[], Iterable[Lane]]) -> None:
        self._server = server
        self._producer = producer
        self._lanes = lanes
        self._filled: asyncio.Queue[Lane] = asyncio.Queue()
        self._seen: set[tuple[Lane, str]] = set()

    def filled(self, lane: Lane) -> None:
        """This worker put follow-ups there."""
        self._filled.put_nowait(lane)

    async def run(self) -> None:
        await self._drain_all(await self._waiting(self._lanes()))  # of a predecessor that may have been killed
        while True:
            lanes = await self._filled_or_time()
            found = await self._waiting(lanes or self._lanes())
            if not lanes:
                found, self._seen = found & self._seen, found
            await self._drain_all(found)

    async def _filled_or_time(self) -> set[Lane]:
        """The lanes where this worker put something; none when it is time to look everywhere."""
        try:
            lanes = {await asyncio.wait_for(self._filled.get(), _SWEEP_SECONDS)}
        except TimeoutError:
            return set()
        while not self._filled.empty():
            lanes.add(self._filled.get_nowait())
        return lanes

    async def _drain_all(self, found: Iterable[tuple[Lane, str]]) -> None:
        for lane, name in found:
            try:
                await self.drain(lane, name)
            except Exception as error:  # noqa: BLE001 -- the other batches go on; this one is tried again
                self._tell(error)

    async def _waiting(self, lanes: Iterable[Lane]) -> set[tuple[Lane, str]]:
        asked = list(lanes)
        try:
            replies = await self._server.run([batches(lane) for lane in asked]) if asked else []
        except UnreachableError as error:
            self._tell(error)
            return set()
        named = [(lane, names) for lane, names in zip(asked, replies, strict=True) if isinstance(names, list)]
        return {(lane, name) for lane, names in named for name in names}

    async def drain(self, lane: Lane, name: str) -> int:
        """Send on one batch; returns how many follow-ups that were."""
        count = 0
        while True:
            page = page_of(*map(answered, await self._server.run(first_page(lane, name))))
            # Not refused for a full lane: the parent is done, nobody could submit it again.
            await self._producer.forward(page.follow_ups)
            await self._server.call(sent_on(lane, name, page))
            count += len(page.follow_ups)
            if page.pages <= 1:
                return count

    def _tell(self, error: Exception) -> None:
        if isinstance(error, UnreachableError | ServerUnreachable):
            log.warning("follow-ups wait for the server", action="outbox.waits", error=str(error))
        else:
            told = "follow-ups could not be sent on; tried again"
            log.error(told, action="outbox.failed", **exception_field(error))
