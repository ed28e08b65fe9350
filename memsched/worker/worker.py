"""One worker: its duties put together, started and stopped."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import structlog

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command
from memsched.errors import SchedulerNotStarted, UnreachableError
from memsched.queue.lanes import ensure_groups, known_lanes, register_lanes
from memsched.queue.leases import Leases
from memsched.queue.outcomes import Outcomes
from memsched.queue.submit import Producer
from memsched.queue.workers import Registry, started_now
from memsched.settings import Settings
from memsched.version import __version__
from memsched.worker.cancellation import end
from memsched.worker.cycle import Cycle
from memsched.worker.handlers import Orchestrator
from memsched.worker.janitor import Janitor, forget_worker
from memsched.worker.liveness import Liveness, liveness_dir
from memsched.worker.notifications import Hints
from memsched.worker.outbox import Outbox
from memsched.worker.reporter import Reporter

log = structlog.get_logger(__name__)

_UNWIND_SECONDS = 2.0
_FAREWELL_SECONDS = 3.0


def new_worker_id() -> str:
    """Unique per start of a process, and readable: host, process id, some random letters."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"


class Worker:
    """Runs the handlers of its labels until it is stopped.

    server, keys: shared with whoever else uses them in this process; the worker closes neither.
    """

    def __init__(
        self,
        server: Server,
        keys: Keys,
        settings: Settings,
        orchestrator: Orchestrator,
        worker_id: str | None = None,
    ) -> None:
        self.worker_id = worker_id or new_worker_id()
        self._server = server
        self._keys = keys
        self._settings = settings
        self._orchestrator = orchestrator
        self._registry = Registry(server, keys, settings.worker_ttl_seconds)
        self._leases = Leases(keys, self.worker_id)
        self._liveness = Liveness(liveness_dir(settings), self.worker_id)
        outcomes = Outcomes(keys, self.worker_id, settings.task_ttl_seconds)
        reporter = Reporter(settings, keys, self._leases, outcomes, clustered=server.clustered)
        self.cycle = Cycle(server, keys, settings, orchestrator, self._leases, self._registry, reporter, self._liveness)
        self._tasks: list[asyncio.Task[None]] = []
        self._loop_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read. Raises SchedulerNotStarted if there is no handler, ServerUnreachable if there is no server."""
        labels = list(self._orchestrator.handlers)
        if not labels:
            raise SchedulerNotStarted("Register a handler first: register_handlers({'MY_LABEL': handle}).")
        lanes = [lane for label in labels for lane in self._keys.lanes_of(label)]
        await register_lanes(self._server, self._keys, lanes)
        lanes += [
            lane for lane in await known_lanes(self._server, self._keys) if lane.label in labels and lane not in lanes
        ]
        await ensure_groups(self._server, lanes)
        about = {
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
            "started": started_now(),
            "labels": ",".join(sorted(labels)),
            "concurrency": str(self._settings.concurrency),
            "version": __version__,
        }
        await self._registry.register(self.worker_id, about)
        self._liveness.begin()
        self.cycle.watch_lanes(lanes)
        self._loop_task = asyncio.create_task(self.cycle.run(), name="memsched-cycle")
        hints = Hints(self._server, self._keys, self.cycle.hint, self.cycle.look_everywhere)
        janitor = Janitor(self._server, self._keys, self._registry, self.cycle, labels)
        self._also(hints.run())
        self._also(janitor.run())
        if self._server.clustered:
            outbox = Outbox(self._server, Producer(self._server, self._keys, self._settings), lambda: self.cycle.lanes)
            self.cycle.on_follow_ups = outbox.filled
            self._also(outbox.run())
        log.info(
            "worker started",
            action="worker.started",
            worker_id=self.worker_id,
            pid=os.getpid(),
            labels=sorted(labels),
            lanes=len(lanes),
            concurrency=self._settings.concurrency,
        )

    def _also(self, duty: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(duty))

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Take nothing more, let running handlers end within the grace time, hand the rest back, and say goodbye."""
        if self._loop_task is None:
            return
        grace = self._settings.grace_seconds if grace_seconds is None else grace_seconds
        dispatcher = self.cycle.dispatcher
        running = len(dispatcher.running())
        log.info(
            "worker stops",
            action="worker.stopping",
            worker_id=self.worker_id,
            running=running,
            grace_seconds=grace,
        )
        await self.cycle.stop_reading()
        if not await self._wait_for_calls(grace):
            dispatcher.cancel_all()
            await self._wait_for_calls(_UNWIND_SECONDS)
        await self._wait_until_said(_FAREWELL_SECONDS)
        self.cycle.stop()
        await asyncio.wait([self._loop_task], timeout=_FAREWELL_SECONDS)
        for error in await end((self._loop_task, *self._tasks)):
            log.error("a duty of the worker had failed", action="worker.duty_failed", error=repr(error))
        self._loop_task = None
        self._tasks.clear()
        await self._say_goodbye()
        dispatcher.close()
        self._liveness.end()
        log.info("worker stopped", action="worker.stopped", worker_id=self.worker_id, **_numbers(self.cycle.tally))

    async def _wait_for_calls(self, seconds: float) -> bool:
        """Whether all handler calls ended in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.cycle.dispatcher.running():
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(min(0.02, max(0.0, deadline - loop.time())))
        return True

    async def _wait_until_said(self, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        self.cycle.wake()
        while self.cycle.unsaid and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)

    async def _say_goodbye(self) -> None:
        lanes = self.cycle.lanes
        try:
            # Everything that is still in our name: calls that did not end, and answers that never arrived.
            releases: list[Command[int]] = [self._leases.release(lane, None) for lane in lanes]
            handed_back = sum(reply for reply in await self._server.run(releases) if isinstance(reply, int))
            if handed_back:
                log.info(
                    "unfinished messages are handed back",
                    action="worker.released",
                    worker_id=self.worker_id,
                    count=handed_back,
                )
            if await forget_worker(self._server, self._keys, self.worker_id, lanes):
                await self._registry.remove(self.worker_id)
        except UnreachableError as error:
            log.warning(
                "no goodbye: the server does not answer; what is unfinished is claimed after its min idle",
                action="worker.stopped",
                worker_id=self.worker_id,
                error=str(error),
            )


def _numbers(tally: Any) -> dict[str, int]:
    return {name: int(value) for name, value in tally.as_fields().items()}
