"""The transactional outbox, for Redis Cluster: follow-ups wait in their parent's lane, and then go on to their own.

A script may touch one slot only, so the acknowledgement and the follow-ups are written together in the parent's slot.
Delivering them is safe to repeat: a follow-up that is known already is not submitted again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable

from memsched.broker.client import Server
from memsched.broker.keys import Lane
from memsched.broker.scripting import as_text
from memsched.errors import InvalidMessage, ServerUnreachable, UnreachableError
from memsched.logs import exception_field, get_logger
from memsched.messages import ScheduleMessageItem
from memsched.queue.submit import Producer

log = get_logger(__name__)

_PAGE = 100
_SWEEP_SECONDS = 5.0


class Outbox:
    """Drains the outboxes of this worker's lanes: at once when this worker filled one, and by the clock."""

    def __init__(self, server: Server, producer: Producer, lanes: Callable[[], Iterable[Lane]]) -> None:
        self._server = server
        self._producer = producer
        self._lanes = lanes
        self._filled: asyncio.Queue[Lane] = asyncio.Queue()

    def filled(self, lane: Lane) -> None:
        """This worker put follow-ups there."""
        self._filled.put_nowait(lane)

    async def run(self) -> None:
        while True:
            try:
                lanes = {await asyncio.wait_for(self._filled.get(), _SWEEP_SECONDS)}
                while not self._filled.empty():
                    lanes.add(self._filled.get_nowait())
            except TimeoutError:
                lanes = set(self._lanes())
            for lane in lanes:
                try:
                    await self.drain(lane)
                except (UnreachableError, ServerUnreachable) as error:
                    log.warning("follow-ups wait for the server", action="outbox.waits", error=str(error))
                except Exception as error:  # noqa: BLE001 -- a mistake of our own must not end the loop
                    told = "follow-ups could not be sent on; tried again"
                    log.error(told, action="outbox.failed", **exception_field(error))

    async def drain(self, lane: Lane) -> int:
        """Send on what waits in one outbox; returns how many follow-ups that were."""
        sent = 0
        while page := await self._server.execute("LRANGE", lane.outbox, 0, _PAGE - 1):
            for row in page:
                label, delay_ms, fields = json.loads(row)
                names = iter(fields)
                message = self._read(label, dict(zip(names, names, strict=True)))
                if message is not None:
                    # Not refused for a full lane: the parent is done, nobody could submit it again.
                    await self._producer.submit([message], delay_ms=delay_ms, unlimited=True)
                await self._server.execute("LREM", lane.outbox, 1, row)
                sent += 1
        return sent

    def _read(self, label: str, fields: dict[str, str]) -> ScheduleMessageItem | None:
        try:
            return ScheduleMessageItem.from_wire(label, fields, default_id="", default_ms=0)
        except InvalidMessage as error:
            log.error(
                "a follow-up in the outbox is no message and is dropped",
                action="outbox.malformed",
                label=as_text(label),
                error=str(error),
            )
            return None
