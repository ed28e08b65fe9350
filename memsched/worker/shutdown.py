"""The graceful shutdown of a worker: what SIGTERM does.

The signal itself is caught in memsched/process.py, and by the supervisor for its workers. The worker then

1. reads no more, and hands back what waits in its buffer;
2. lets running handlers end within the grace time;
3. cancels those that still run, and gives them a moment to clean up;
4. reports the outcomes, hands back everything that is still in its name, and deregisters.

What is handed back can be claimed by others at once, and has used up no attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.deadline import Deadline
from memsched.errors import ServerRefused, UnreachableError
from memsched.logs import get_logger
from memsched.queue.leases import Leases
from memsched.queue.workers import WorkerRegistry
from memsched.worker.cancellation import cancel_and_wait
from memsched.worker.cycle import Cycle
from memsched.worker.janitor import remove_worker

log = get_logger(__name__)

_UNWIND_SECONDS = 2.0
_REPORT_SECONDS = 3.0
_POLL_SECONDS = 0.01


class Shutdown:
    """Stops one worker's cycle and its other duties in order."""

    def __init__(self, server: Server, keys: Keys, registry: WorkerRegistry, leases: Leases, cycle: Cycle) -> None:
        self._server = server
        self._keys = keys
        self._registry = registry
        self._leases = leases
        self._cycle = cycle

    async def run(
        self, grace_seconds: float, cycle_task: asyncio.Task[None], duties: Sequence[asyncio.Task[None]]
    ) -> None:
        """All four steps. While the server does not answer, what is unfinished is claimed after its min idle."""
        await self._cycle.stop_reading()
        await self._end_calls(grace_seconds)
        await self._report()
        self._cycle.stop()
        await asyncio.wait([cycle_task], timeout=_REPORT_SECONDS)
        for error in await cancel_and_wait((cycle_task, *duties)):
            log.error("a duty of the worker had failed", action="worker.duty_failed", error=repr(error))
        await self._deregister()

    async def _end_calls(self, grace_seconds: float) -> None:
        dispatcher = self._cycle.dispatcher

        def all_ended() -> bool:
            return not dispatcher.running()

        if not await _within(grace_seconds, all_ended):
            dispatcher.cancel_all()
            await _within(_UNWIND_SECONDS, all_ended)

    async def _report(self) -> None:
        self._cycle.wake()
        await _within(_REPORT_SECONDS, lambda: not self._cycle.unreported)

    async def _deregister(self) -> None:
        lanes, worker_id = self._cycle.lanes, self._leases.worker_id
        try:
            # Everything that is still in our name: calls that did not end, and replies that never arrived.
            handed_back, left = 0, list(lanes)
            while left:
                replies = await self._server.run([self._leases.release_held(lane) for lane in left])
                left = [lane for lane, reply in zip(left, replies, strict=True) if isinstance(reply, int) and reply]
                handed_back += sum(reply for reply in replies if isinstance(reply, int))
            if handed_back:
                log.info(
                    "unfinished messages are handed back",
                    action="worker.released",
                    worker_id=worker_id,
                    count=handed_back,
                )
            await remove_worker(self._server, self._keys, self._registry, worker_id, lanes, dead=False)
        except (UnreachableError, ServerRefused) as error:
            log.warning(
                "no goodbye: the server does not answer, or refuses; what is unfinished is claimed after its min idle",
                action="worker.stopped",
                worker_id=worker_id,
                error=str(error),
            )


async def _within(seconds: float, done: Callable[[], bool]) -> bool:
    """Wait until something is done; whether it was in time."""
    deadline = Deadline(seconds)
    while not done():
        if deadline.passed:
            return False
        await asyncio.sleep(min(_POLL_SECONDS, deadline.left))
    return True
