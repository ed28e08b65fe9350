"""The janitor: removes what dead workers left and dead letters that are too old, and finds lanes that are new."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Collection, Iterable

from memsched.broker.client import Server
from memsched.broker.keys import Keys, Lane
from memsched.errors import UnreachableError
from memsched.logs import exception_field, get_logger
from memsched.queue.dead_letters import drop_old_letters
from memsched.queue.lanes import ensure_groups, known_lanes, register_lanes
from memsched.queue.leases import Leases
from memsched.queue.workers import WorkerRegistry
from memsched.worker.cycle import Cycle

log = get_logger(__name__)

_EVERY_SECONDS = 15.0
_AFTER_FAILURE_SECONDS = 1.0


class Janitor:
    """Removes dead workers once they own nothing, and adds lanes of this worker's labels as they appear.

    Args:
        labels: those with a handler here; there may be more of them later.
        dead_letter_days: how long dead letters of those lanes are kept; 0: for ever.
    """

    def __init__(
        self,
        server: Server,
        keys: Keys,
        registry: WorkerRegistry,
        cycle: Cycle,
        labels: Collection[str],
        dead_letter_days: float = 0.0,
    ) -> None:
        self._server = server
        self._keys = keys
        self._registry = registry
        self._cycle = cycle
        self._labels = labels
        self._dead_letter_days = dead_letter_days
        self._called = asyncio.Event()

    def call(self) -> None:
        """Come at once: there are labels that are not read yet."""
        self._called.set()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._called.wait(), _EVERY_SECONDS * random.uniform(0.8, 1.2))
            try:
                await self.tidy()
            except UnreachableError as error:
                log.debug("tidying waits for the server", action="janitor.waits", error=str(error))
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
            except Exception as error:  # noqa: BLE001 -- a mistake of our own must not end the loop
                log.error("tidying failed; it is tried again", action="janitor.failed", **exception_field(error))
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)

    async def tidy(self) -> None:
        """One round."""
        labels = set(self._labels)
        ours = [lane for label in labels for lane in self._keys.lanes_of(label)]
        lanes = await known_lanes(self._server, self._keys)
        if unknown := [lane for lane in ours if lane not in lanes]:
            await register_lanes(self._server, self._keys, unknown)
            lanes += unknown
        if new := [lane for lane in lanes if lane.label in labels and lane not in self._cycle.lanes]:
            await ensure_groups(self._server, new)
            self._cycle.watch_lanes(new)
        if labels >= set(self._labels):  # nobody added one meanwhile
            self._called.clear()
        for worker_id in await self._registry.silent():
            if await remove_worker(self._server, self._keys, self._registry, worker_id, lanes, dead=True):
                log.info("a dead worker that owns nothing is removed", action="worker.removed", worker_id=worker_id)
        if self._dead_letter_days:
            for lane in self._cycle.lanes:
                if count := await drop_old_letters(self._server, lane, self._dead_letter_days):
                    told = "dead letters older than MEMSCHED_DEAD_LETTER_DAYS are deleted"
                    log.info(told, action="dead_letters.expired", label=lane.label, count=count)


async def remove_worker(
    server: Server, keys: Keys, registry: WorkerRegistry, worker_id: str, lanes: Iterable[Lane], *, dead: bool
) -> bool:
    """Remove a worker's consumers where they own nothing, and deregister it if that was everywhere; whether it was."""
    leases = Leases(keys, worker_id)
    replies = await server.run([leases.remove_consumer(lane, dead=dead) for lane in lanes])
    owns_nothing = all(reply == 0 for reply in replies)
    if owns_nothing:
        await registry.remove(worker_id)
    return owns_nothing
