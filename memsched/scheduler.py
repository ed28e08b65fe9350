"""The face of the library: ``AsyncMemScheduler``. Without ``await``: memsched/sync_scheduler.py."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from memsched.backoff import poll_pauses
from memsched.blocking import Delegated
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.console.tables import print_status
from memsched.deadline import Deadline
from memsched.durations import Seconds, seconds_of, seconds_or_none
from memsched.errors import (
    InvalidArgument,
    LeftInParent,
    MessagesLost,
    OtherEventLoop,
    SchedulerStopped,
    ServerRefused,
    WorkerFailed,
)
from memsched.handlers.lazy_services import LazyServices
from memsched.handlers.registration import register_memory_handlers
from memsched.held_turns import HeldTurns
from memsched.logs import get_logger, write_from
from memsched.memory.access.hook import release_from
from memsched.memory.search.retriever import Retriever
from memsched.memory_face import MemoryFace
from memsched.message_queue import AsyncMessageQueue
from memsched.messages import NOT_WAITED_FOR, Messages, ScheduleLogForWebItem, ScheduleMessageItem, messages_of
from memsched.original_names import OriginalNames
from memsched.patience import Patience
from memsched.policy.strategy import WorkingSetPolicy
from memsched.policy.transitions import TransitionRules
from memsched.queue.clear import clear
from memsched.queue.dead_letters import DeadLetters
from memsched.queue.epoch import begun_epoch, current_epoch
from memsched.queue.events import newest_events
from memsched.queue.pause import pause, resume
from memsched.queue.statistics import LabelStatistics, read_statistics
from memsched.queue.status import Status, TaskStatus, count_unfinished, read_status, task_status
from memsched.queue.submit import Producer
from memsched.queue.tasks import Task, cancel_task, find_tasks, parts_of_task
from memsched.settings import Settings
from memsched.task_status import SubmitResult
from memsched.tracing import tracing_of
from memsched.waiting import Waiting
from memsched.worker.handlers import HandlerEntry, Orchestrator
from memsched.worker.middleware import Middleware
from memsched.worker.worker import Worker

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices

log = get_logger(__name__)

_left_in_parent: list[Any] = []
"""Kept: the child of a fork that let a connection go would take it from the epoll that it shares with its parent."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.25


class AsyncMemScheduler(MemoryFace, OriginalNames):
    """Submits messages, and runs handlers in this process once it is started.

    Used for submitting only, it needs no ``start``. It may serve as an async context manager, which starts and stops
    it. Raises SettingsError for bad settings when it is made, ServerUnreachable at the first call.

    It belongs to one event loop at a time: on a second one, while the first still runs, calls raise OtherEventLoop.
    When that loop has ended (``asyncio.run`` again), or in a child process after a fork, the next call opens
    connections of its own. Handlers then no longer run here, until the next ``start``: those of a parent process run
    on in the parent; at the end of a loop, what was running is handed back without using up a retry.
    """

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        """``settings``, or the environment with ``given`` over it: ``AsyncMemScheduler(redis_url="memory://")``."""
        if settings is not None and given:
            raise TypeError("give settings or single values, not both")
        self.settings = settings or Settings.load(**given)
        write_from(self.settings.log_level)
        self.keys = Keys(self.settings.prefix, self.settings.partitions)
        self._tracing = tracing_of(self.settings.traces, texts=self.settings.trace_texts)
        self.orchestrator = Orchestrator(self.settings)
        self.memos_message_queue = AsyncMessageQueue(self)
        self.release = release_from(self.settings)
        self.retriever = Retriever(
            self.memory,
            top_k=self.settings.top_k,
            method=self.settings.search_method,
            release=self.release,
            secrets=self.settings.secrets,
        )
        self._server: Server | None = None
        self._producer: Producer | None = None
        self._worker: Worker | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        """The process and the event loop to which all of this belongs."""
        self._guard: asyncio.Task[None] | None = None
        self._stops = 0
        self._epoch: str | None = None
        """The server's, since the first submit that is not known to be finished."""
        self._submits = 0
        self._opening, self._starting = asyncio.Lock(), asyncio.Lock()
        self._memory = LazyServices(self.settings, self.keys, self.server, self.release)
        self.patience = Patience()
        self.held_turns = HeldTurns()

    current_mem_cube = Delegated[Any](
        "retriever.mem_cube", "The cube (a GeneralMemCube, a CubeRef) that ``retriever.search`` means when told none."
    )
    search_method = Delegated[str]("retriever.method", "How ``retriever.search`` ranks when it is not told.")
    working_set_policy = Delegated[WorkingSetPolicy | None](
        "_memory.policy",
        """What chooses the working sets in this process, or where MEMSCHED_APP names this; None: MEMSCHED_STRATEGY.

        To be set before the first use of memory.
        """,
    )

    transition_rules = Delegated[TransitionRules | None](
        "_memory.rules",
        """What decides when memories move between tiers, here or where MEMSCHED_APP names this; None: the rules that
        MEMSCHED_TRANSITIONS names, or memsched's own.

        To be set before the first use of memory.
        """,
    )

    # -- handlers ------------------------------------------------------------------------------------------------

    def register_handlers(self, handlers: Mapping[str, HandlerEntry]) -> None:
        """Say which function runs which label: ``{label: handle}``, ``{label: (handle, priority, min_idle_ms)}``,
        or ``{label: Handler(handle, timeout_seconds=5, ...)}``.

        At any time, and as often as one likes. While the scheduler runs, a new label's messages are read at once, and a
        new handler of a label gets the messages whose calls have not begun. Raises HandlerNotLoaded for rules that
        cannot be kept; then nothing was registered.
        """
        self.orchestrator.register(handlers)
        if self._worker is not None and self.running:
            self._worker.handlers_changed(handlers)

    def add_middleware(self, *middleware: Middleware) -> None:
        """Hooks around each call of a handler, from the next call on; the first one added is the outermost."""
        self.orchestrator.middleware += middleware

    @property
    def running(self) -> bool:
        """Whether handlers run here: from ``start`` to ``stop``, in the process that started, while its loop runs.

        Not any more either when a part of the worker has failed (``action=worker.failed`` says what); ``start`` again
        makes another one, and submitting goes on all the same.
        """
        there = self._home is not None and _is_there(*self._home)
        return there and self._worker is not None and self._worker.running

    async def start(self) -> None:
        """Begin to run handlers in this process: those registered, and memsched's own for the other labels.

        Raises SchedulerNotStarted if there is none (MEMSCHED_MEMORY=false, and none registered).
        """
        self._settle()
        async with self._starting:
            if self._worker is not None and self._worker.running:
                return
            if self._worker is not None:  # it failed
                guard, self._guard = self._guard, None
                if guard is not None:
                    guard.cancel()
                await self._worker.stop(0.0)
            server = await self.server()
            if self.settings.memory:
                register_memory_handlers(self.orchestrator, self._memory)
            worker = Worker(server, self.keys, self.settings, self.orchestrator)
            await worker.start()
            self._worker = worker
            self._guard = asyncio.create_task(self._stop_with_loop(worker), name="memsched-guard")

    async def stop(self, grace_seconds: Seconds | None = None) -> None:
        """Let running handlers end, hand the rest back, close all connections. Who is in ``wait`` gets
        SchedulerStopped. It may be started again.
        """
        grace = seconds_or_none("grace_seconds", grace_seconds)
        self._settle()
        async with self._starting:  # a start that is under way comes first
            self._stops += 1
            guard, self._guard = self._guard, None
            if guard is not None:
                guard.cancel()
            if self._worker is not None:
                await self._worker.stop(grace)
                self._worker = None
            await self.held_turns.aclose()
            await self._memory.aclose()
            if self._server is not None:
                server, self._server, self._producer = self._server, None, None
                await server.aclose()

    async def _stop_with_loop(self, worker: Worker) -> None:
        """When the event loop ends without ``stop``, it cancels all tasks, this one too, and waits for them."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._guard is not None:
                await worker.stop_with_loop()
            raise

    def _settle(self) -> None:
        """Make this event loop of this process the home of what is opened from now on.

        Raises OtherEventLoop and LeftInParent.
        """
        here = (os.getpid(), asyncio.get_running_loop())
        if self._home == here:
            return
        if self._home is not None and (self._server is not None or self._worker is not None):
            self._leave(forked=self._home[0] != here[0])
        self._home = here
        self._opening, self._starting = asyncio.Lock(), asyncio.Lock()

    def _leave(self, *, forked: bool) -> None:
        """Forget what is open elsewhere: after a fork it is the parent's, after the end of its loop it is dead."""
        assert self._home is not None
        if forked and self.settings.redis_url.startswith("memory://"):
            raise LeftInParent
        if not forked and not self._home[1].is_closed():
            raise OtherEventLoop
        if self._worker is not None:
            log.warning(
                "the scheduler was started before a fork; its handlers run in the parent process only"
                if forked
                else "the event loop of the handlers has ended without stop(); they do not run any more",
                action="scheduler.left",
                advice="call start() here for them to run here",
            )
        services = self._memory.leave()
        if forked:
            self.held_turns = HeldTurns()
            _left_in_parent.append((self._server, self._producer, self._worker, self._guard, services))
        else:
            self.held_turns.leave()
            if self._server is not None:
                self._server.leave()
        self._server = self._producer = self._worker = self._guard = None

    async def __aenter__(self) -> Self:
        if self.orchestrator.handlers:
            await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- messages ------------------------------------------------------------------------------------------------

    async def submit_messages(self, messages: Messages, *, delay: Seconds = 0.0) -> list[SubmitResult]:
        """Submit one message or several; when it returns, they are kept until they are handled.

        Idempotent: a message whose item_id its user submitted already is a ``duplicate``, and not run twice.
        Raises QueueFull (with the results), InvalidMessage (nothing was submitted) and ServerUnreachable (submit the
        same messages again).

        Args:
            delay: seconds (or a timedelta) before they may run; at most 366 days, or InvalidArgument is raised.
        """
        delay_ms = int(seconds_of("delay", delay) * 1000)
        producer = await self._get_producer()
        if (epoch := self._epoch) is None:
            epoch = await begun_epoch(await self.server(), self.keys)
        try:
            given = messages_of(messages)
            if self._tracing is None or not given:
                return await producer.submit_or_raise(given, delay_ms=delay_ms)
            with self._tracing.send(given) as traced:
                return await producer.submit_or_raise(traced, delay_ms=delay_ms)
        finally:
            self._epoch = epoch
            self._submits += 1

    async def get_task_status(
        self, message: ScheduleMessageItem | str, *, user_id: str | None = None, label: str | None = None
    ) -> TaskStatus | None:
        """Where a message is (or a user's message with this item id: the one submitted last, if labels share it).

        None if it is not known (any more: see MEMSCHED_TASK_TTL_SECONDS).

        Args:
            user_id: with an item id, whose it is: ids are the user's own. InvalidArgument is raised without it.
            label: with an item id, only the message of this label; None: of all labels.
        """
        if isinstance(message, str):
            which = _which(message, user_id, label)
            found = [task.status for task in await self.find_tasks(*which)]
            return max(found, key=lambda status: status.submitted_ms, default=None)
        lane = self.keys.lane(message.label, message.user_id, message.mem_cube_id)
        server = await self.server()
        return await server.persistently(lambda: server.call(task_status(lane, message.user_id, message.item_id)))

    async def cancel_task(
        self, message: ScheduleMessageItem | str, *, user_id: str | None = None, label: str | None = None
    ) -> bool:
        """Take a message (or a user's message with this item id) off the queue for good, wherever it waits or runs.

        An async handler that runs it is cancelled; a sync one goes on, and what it does counts for nothing.
        Returns whether anything was taken off: not what is finished, or is not known (any more).

        Args:
            user_id: with an item id, whose it is: ids are the user's own. InvalidArgument is raised without it.
            label: with an item id, only the message of this label; None: of all labels.
        """
        which = _which(message, user_id, label)
        server = await self.server()
        tasks = [task for task in await find_tasks(server, self.keys, *which) if task.unfinished]
        ttl = self.settings.task_ttl_seconds
        return any([await cancel_task(server, self.keys, task, ttl) for task in tasks])

    async def find_tasks(self, user_id: str, item_id: str, label: str | None = None) -> list[Task]:
        """A user's messages with this item id, one of each label at most; only of one label, if it is given."""
        return await find_tasks(await self.server(), self.keys, user_id, item_id, label)

    async def tasks_of(self, user_id: str, task_id: str) -> list[Task]:
        """The messages of a user that name this business task (their ``task_id``), with the follow-ups they led to.

        In the order in which they were submitted; known for a week after the last one, and as long as their records
        (MEMSCHED_TASK_TTL_SECONDS).
        """
        return await parts_of_task(await self.server(), self.keys, user_id, task_id)

    async def wait(
        self, *, user_id: str | None = None, task_id: str | None = None, timeout: Seconds | None = None
    ) -> None:
        """Until all messages (of one user, of one of their business tasks, or of all) are finished, and the follow-ups
        they led to.

        What was put off because no model answers (``mem_reread``) is not waited for until it is due.
        Messages that a foreign producer put in by plain XADD count for ``wait()``, not for ``wait(user_id=...)``.
        Raises WaitTimeout after ``timeout`` seconds, SchedulerStopped when somebody calls ``stop`` meanwhile,
        WorkerFailed when handlers ran here and their worker has failed, and MessagesLost when the server was emptied
        since messages were submitted here that are not known to be finished.

        Args:
            task_id: only the messages that name it as their ``task_id``, and their follow-ups. InvalidArgument is
                raised without a user_id: ids are the user's own.
        """
        if task_id is not None and user_id is None:
            raise InvalidArgument("user_id", None, "ids are the user's own; say whose task_id this one is")
        deadline = Deadline(seconds_or_none("timeout", timeout))
        waiting = Waiting(self, deadline.seconds)
        stops = self._stops
        pauses = poll_pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        submits = self._submits
        while unfinished := await self.unfinished(user_id, task_id):
            pause = next(pauses)
            if pause > deadline.left:
                raise await waiting.timed_out(unfinished)
            if self._has_failed():
                raise WorkerFailed(f"{unfinished} unfinished; call start() for another one.")
            await waiting.look()
            await asyncio.sleep(pause)
            if self._stops != stops:
                raise SchedulerStopped
            submits = self._submits
        await self._refuse_emptied()
        if user_id is None and self._submits == submits:
            self._epoch = None  # all of it was finished

    async def _refuse_emptied(self) -> None:
        """Nothing is unfinished in a server that was emptied, whatever was submitted to it."""
        if (epoch := self._epoch) is None:
            return
        if await current_epoch(await self.server(), self.keys) != epoch:
            self._epoch = None
            raise MessagesLost

    def _has_failed(self) -> bool:
        """Whether handlers ran here, and a part of the worker has failed. Not while it is stopped or started."""
        return self._worker is not None and not self.running and not self._starting.locked()

    async def unfinished(self, user_id: str | None = None, task_id: str | None = None) -> int:
        """How many messages ``wait`` would wait for now: all, a user's, or those of one of their business tasks."""
        if user_id is not None and task_id is not None:
            return sum(_waited_for(task) for task in await self.tasks_of(user_id, task_id))
        if user_id is None:
            status = await self.read_status()
            if status.unknown and not status.total.backlog:
                label, why = next(iter(status.unknown.items()))
                raise ServerRefused(f"{why} (label {label!r}: nobody can say whether it is finished)")
            put_off = [counts for label, counts in status.labels.items() if label in NOT_WAITED_FOR]
            return status.total.backlog - sum(counts.backlog - counts.ready for counts in put_off)
        server = await self.server()
        return await server.persistently(lambda: count_unfinished(server, self.keys, user_id, NOT_WAITED_FOR))

    # -- memory --------------------------------------------------------------------------------------------------

    async def memory(self) -> MemoryServices:
        """Cubes, store, search and the rest of the memory half, opened at the first call."""
        self._settle()
        return await self._memory.get()

    async def memory_soon(self) -> MemoryServices:
        self._settle()
        return await self._memory.soon(self.patience, self.settings.prompt_search_seconds)

    # -- status --------------------------------------------------------------------------------------------------

    async def read_status(self) -> Status:
        """The state of all labels, as an object."""
        server = await self.server()
        return await server.persistently(
            lambda: read_status(server, self.keys, self.settings, labels=self.orchestrator.handlers)
        )

    async def get_tasks_status(self) -> dict[str, Any]:
        """The numbers of ``memsched status --json``, of all labels and of each.

        ``{"backlog", "remaining", "running", "orphaned", "delayed", "parked", "ready", "dead", "oldest_seconds",
        "labels": {label: {the same}}, "paused": [label, ...], "workers": [{"worker_id", "silent_ms", ...}, ...]}``;
        and ``"unknown": {label: why}`` for labels about which the server refused the question, ``"no_handler": {label:
        what is wrong}`` for those that have messages and no live worker with a handler. ``oldest_seconds`` is None
        where no message waits in a stream.
        """
        return (await self.read_status()).as_dict()

    async def scaling(self, labels: Iterable[str] | None = None) -> dict[str, Any]:
        """How many workers are needed: ``{"ready", "backlog", "delayed", "oldest_age_seconds"}``.

        ``ready`` is in the streams, parked, or delayed and due, whether or not a worker lives that could move it on.
        Scale by it: ``backlog`` also has what is put off until tomorrow. The age is 0.0 where nothing waits.
        Raises ServerRefused if the server refused the question for one of the labels.

        Args:
            labels: only of these; None: of all.
        """
        status = await self.read_status()
        return status.scaling(None if labels is None else frozenset(labels))

    async def statistics(self, minutes: int | None = None) -> dict[str, LabelStatistics]:
        """What was counted of each label: submitted, outcomes, and how long messages waited and handlers ran.

        Workers add to it once a second at most; what they counted outlives them.

        Args:
            minutes: only in the last so many; beyond 180, in steps of ten, and at most 3 days. None: ever.
        """
        if minutes is not None and minutes < 1:
            raise InvalidArgument("minutes", minutes, "at least 1, or None for all there ever was")
        server = await self.server()
        return await server.persistently(lambda: read_statistics(server, self.keys, minutes=minutes))

    async def print_tasks_status(self, tasks_status: Mapping[str, Any] | None = None) -> None:
        """Print the status as a table: what ``get_tasks_status`` returned, or (None) that of now."""
        print_status(await self.read_status() if tasks_status is None else Status.from_dict(tasks_status))

    async def dead_letters(self) -> DeadLetters:
        """What was given up: to list, redrive or purge."""
        return DeadLetters(await self.server(), self.keys)

    async def get_web_log_messages(self, limit: int = 100) -> list[ScheduleLogForWebItem]:
        """The newest memory events, oldest first."""
        server = await self.server()
        events = await server.persistently(lambda: server.call(newest_events(self.keys.events, limit)))
        return await self._released_events(events)

    async def follow_events(self, after: str | None = None) -> AsyncGenerator[tuple[str, ScheduleLogForWebItem], None]:
        """Memory events of all as they happen, each with its place in the log; without end.

        Args:
            after: the place of the last one that was seen; None: those from now on.
        """

        async def log_of_all() -> str:
            return self.keys.events

        async with aclosing(self._follow(log_of_all, after)) as events:
            async for each in events:
                yield each

    async def pause(self, label: str) -> bool:
        """Let no worker take more messages of a label, until ``resume``; whether it was not paused already.

        All workers of the queue, at once, and those that start later. What runs ends; what comes is kept.
        """
        return await pause(await self.server(), self.keys, label)

    async def resume(self, label: str) -> bool:
        """Let the workers go on with a label; whether it was paused."""
        return await resume(await self.server(), self.keys, label)

    async def clear(self, label: str | None = None) -> int:
        """Drop all unfinished messages for good (of one label, or of all); returns how many."""
        return await clear(await self.server(), self.keys, label)

    # -- connection ----------------------------------------------------------------------------------------------

    async def server(self) -> Server:
        """The connection, opened at the first call."""
        self._settle()
        if self._server is not None:
            return self._server
        async with self._opening:
            if self._server is None:
                self._server = await Server.connect(self.settings)
            return self._server

    async def _get_producer(self) -> Producer:
        server = await self.server()
        if self._producer is None:
            self._producer = Producer(server, self.keys, self.settings)
        return self._producer


def _waited_for(task: Task) -> bool:
    is_due = task.lane.label not in NOT_WAITED_FOR or task.status.due_ms <= time.time() * 1000
    return task.unfinished and is_due


def _which(message: ScheduleMessageItem | str, user_id: str | None, label: str | None) -> tuple[str, str, str | None]:
    """A message's user, item id and label, as ``find_tasks`` wants them. An item id says them with its call."""
    if not isinstance(message, str):
        return message.user_id, message.item_id, message.label
    if user_id is None:
        raise InvalidArgument("user_id", None, "ids are the user's own; say whose this one is")
    return user_id, message, label


def _is_there(process: int, loop: asyncio.AbstractEventLoop) -> bool:
    return process == os.getpid() and not loop.is_closed()
