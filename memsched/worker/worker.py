"""One worker: its duties put together, started and stopped."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from uuid import uuid4

from memsched.broker.client import Server
from memsched.broker.durability import Durability
from memsched.broker.keys import Keys
from memsched.errors import SchedulerNotStarted
from memsched.logs import exception_field, get_logger
from memsched.queue.lanes import ensure_groups, known_lanes, register_lanes
from memsched.queue.leases import Leases
from memsched.queue.outcomes import Outcomes
from memsched.queue.submit import Producer
from memsched.queue.workers import WorkerRegistry, started_now
from memsched.settings import Settings
from memsched.tracing import tracing_of
from memsched.version import __version__
from memsched.worker.cancellation import cancel_and_wait
from memsched.worker.cycle import Cycle
from memsched.worker.handlers import Orchestrator
from memsched.worker.healthcheck import liveness_dir
from memsched.worker.janitor import Janitor
from memsched.worker.liveness import Liveness
from memsched.worker.notifications import Notifications
from memsched.worker.outbox import Outbox
from memsched.worker.reporter import Reporter
from memsched.worker.shutdown import Shutdown

log = get_logger(__name__)

_END_AFTER_SECONDS = 0.05


def new_worker_id() -> str:
    """Unique per start of a process, and readable: host, process id, some random letters."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"


_a_worker_process = False


def become_a_worker_process() -> None:
    """This process is there to run a worker: nothing else in it starts one by itself."""
    global _a_worker_process
    _a_worker_process = True


def is_a_worker_process() -> bool:
    return _a_worker_process


class Worker:
    """Runs the handlers of its labels until it is stopped.

    Args:
        server: shared with whoever else uses it in this process; the worker does not close it.
        replaceable: whether another one takes its place when its process ends, which is the cure for stuck handlers.
    """

    def __init__(
        self,
        server: Server,
        keys: Keys,
        settings: Settings,
        orchestrator: Orchestrator,
        worker_id: str | None = None,
        *,
        replaceable: bool = False,
    ) -> None:
        self.worker_id = worker_id or new_worker_id()
        self._replaceable = replaceable
        self._server = server
        self._keys = keys
        self._settings = settings
        self._orchestrator = orchestrator
        self._registry = WorkerRegistry(server, keys, settings.worker_ttl_seconds)
        self._leases = Leases(keys, self.worker_id)
        self._liveness = Liveness(liveness_dir(settings), self.worker_id)
        tracing = tracing_of(settings.traces, texts=settings.trace_texts)
        if tracing is not None and tracing not in orchestrator.middleware:
            orchestrator.middleware.insert(0, tracing)
        outcomes = Outcomes(keys, self.worker_id, settings.task_ttl_seconds, settings.max_per_user)
        reporter = Reporter(settings, keys, self._leases, outcomes, clustered=server.clustered)
        self._about: dict[str, str] = {}
        self.cycle = Cycle(
            server, keys, settings, orchestrator, self._leases, self._registry, reporter, self._liveness, self._about
        )
        self._duties: list[asyncio.Task[None]] = []
        self._cycle_task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._janitor: Janitor | None = None
        self._stopping = False
        self._ending: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        """Why it ended by itself."""
        self.on_failure: Callable[[], None] = lambda: None
        """Called when it has ended by itself, and has handed back what it held."""

    async def start(self) -> None:
        """Begin to read.

        Raises SchedulerNotStarted if there is no handler, ServerUnreachable if there is no server, SettingsError if
        there is one that drops messages.
        """
        labels = list(self._orchestrator.handlers)
        if not labels:
            raise SchedulerNotStarted("Register a handler first: register_handlers({'MY_LABEL': handle}).")
        durability = Durability(self._server, allow_eviction=self._settings.allow_eviction)
        await self._server.persistently(durability.check)
        lanes = [lane for label in labels for lane in self._keys.lanes_of(label)]
        await register_lanes(self._server, self._keys, lanes)
        lanes += [
            lane for lane in await known_lanes(self._server, self._keys) if lane.label in labels and lane not in lanes
        ]
        await ensure_groups(self._server, lanes)
        self._about |= {
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
            "started": started_now(),
            "labels": ",".join(sorted(labels)),
            "concurrency": str(self._settings.concurrency),
            "version": __version__,
        }
        await self._registry.register(self.worker_id, self._about)
        self._liveness.begin()
        self.cycle.watch_lanes(lanes)
        self._cycle_task = self._watched(self.cycle.run())
        notifications = Notifications(self._server, self._keys, self.cycle.notified, self.cycle.look_everywhere)
        labelled, days = self._orchestrator.handlers, self._settings.dead_letter_days
        janitor = Janitor(self._server, self._keys, self._registry, self.cycle, labelled, days)
        self._also(notifications.run())
        self._also(janitor.run())
        self._also(durability.watch())
        if self._replaceable:
            self._also(self.cycle.dispatcher.until_too_many_are_stuck())
        self._janitor, self._loop = janitor, asyncio.get_running_loop()
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
        self._duties.append(self._watched(duty))

    def _watched(self, duty: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A duty lasts as long as its worker. One that ends before, however it ends, ends the worker."""
        task = asyncio.create_task(duty, name=f"memsched {getattr(duty, '__qualname__', 'duty')}")
        task.add_done_callback(self._duty_ended)
        return task

    def _duty_ended(self, task: asyncio.Task[None]) -> None:
        # Not at once: when an event loop ends, it cancels all tasks, and nothing new may start on it.
        task.get_loop().call_later(_END_AFTER_SECONDS, self._end_after, task)

    def _end_after(self, task: asyncio.Task[None]) -> None:
        if self._stopping or self.failure is not None:
            return
        self.failure = (None if task.cancelled() else task.exception()) or RuntimeError(f"{task.get_name()} ended")
        log.error(
            "a duty of the worker ended unasked; the worker ends, and hands back what it holds",
            action="worker.failed",
            worker_id=self.worker_id,
            duty=task.get_name(),
            **exception_field(self.failure),
        )
        self._ending = asyncio.create_task(self.stop(0.0))
        self._ending.add_done_callback(lambda _: self.on_failure())

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor ended by a failure; nor about to, for want of a duty."""
        if self._cycle_task is None or self.failure is not None:
            return False
        return not any(duty.done() for duty in (self._cycle_task, *self._duties))

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Take nothing more, let running handlers end within the grace time, hand the rest back, and deregister."""
        if self._ending is not None and self._ending is not asyncio.current_task():
            await asyncio.wait([self._ending])
        if self._cycle_task is None:
            return
        self._stopping = True
        if self._cycle_task.done():
            self._cycle_task = self._watched(self.cycle.run())  # what it knows is reported, if that can be done
        grace = self._settings.grace_seconds if grace_seconds is None else grace_seconds
        log.info(
            "worker stops",
            action="worker.stopping",
            worker_id=self.worker_id,
            running=len(self.cycle.dispatcher.running()),
            grace_seconds=grace,
        )
        shutdown = Shutdown(self._server, self._keys, self._registry, self._leases, self.cycle)
        await shutdown.run(grace, self._cycle_task, self._duties)
        self._cycle_task = None
        self._duties.clear()
        self.cycle.dispatcher.close()
        self._liveness.end()
        log.info("worker stopped", action="worker.stopped", worker_id=self.worker_id, **self.cycle.tally.as_numbers())

    async def stop_with_loop(self) -> None:
        """Its tasks were cancelled because the event loop ends: hand everything back, as at the end of a grace time."""
        if self._cycle_task is not None:
            self._stopping = True
            await cancel_and_wait([self._cycle_task])
            await self.stop(0.0)

    def handlers_changed(self, labels: Iterable[str]) -> None:
        """Handlers of these labels were registered since the start. May be called in any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._take_handlers, frozenset(labels))

    def _take_handlers(self, labels: frozenset[str]) -> None:
        self.cycle.dispatcher.rules_changed(labels)
        if self._janitor is not None:
            self._janitor.call()

    def hurry(self) -> None:
        """Cut the grace time short: cancel what runs, to be handed back."""
        self.cycle.dispatcher.cancel_all()
