"""The face of the library: ``AsyncMemScheduler``, and ``MemScheduler``, the same without ``await``."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import UUID, uuid5

from memsched.at_exit import StopAtExit
from memsched.backoff import poll_pauses
from memsched.blocking import Blocking, Delegated, EventLoopThread, blocking, direct, shared
from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command
from memsched.console.tables import print_events, print_status
from memsched.deadline import Deadline
from memsched.durations import Seconds, seconds_of, seconds_or_none
from memsched.errors import (
    InvalidArgument,
    LeftInParent,
    MessagesLost,
    OtherEventLoop,
    SchedulerNotStarted,
    SchedulerStopped,
    ServerRefused,
    UnknownMemory,
    WaitTimeout,
    WorkerFailed,
)
from memsched.handlers.lazy_services import LazyServices
from memsched.handlers.registration import register_memory_handlers
from memsched.logs import get_logger
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.access.release import Purpose, Release
from memsched.memory.search.retriever import Retriever
from memsched.messages import (
    PREDICT_TASK_LABEL,
    PRELOAD_TASK_LABEL,
    ScheduleLogForWebItem,
    ScheduleMessageItem,
    messages_of,
)
from memsched.original_names import AwaitableText, OriginalNames
from memsched.policy.binding import Context
from memsched.policy.block import ActivationBlock, Member
from memsched.policy.strategy import CubeMemory, WorkingSetPolicy
from memsched.policy.theme import Theme
from memsched.policy.transitions import TransitionRules
from memsched.queue.clear import clear
from memsched.queue.dead_letters import DeadLetters, SyncDeadLetters
from memsched.queue.epoch import begun_epoch, current_epoch
from memsched.queue.events import newest_events
from memsched.queue.pause import pause, resume
from memsched.queue.status import Status, TaskStatus, count_unfinished, read_status, task_status
from memsched.queue.submit import Producer
from memsched.queue.tasks import cancel_task, find_tasks
from memsched.settings import Settings
from memsched.task_status import SubmitResult
from memsched.tiers.explanation import Explanation
from memsched.tiers.hot_state import HotStates, WorkingMemory
from memsched.worker.handlers import HandlerEntry, Orchestrator
from memsched.worker.middleware import Middleware
from memsched.worker.worker import Worker

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices
    from memsched.moving import Moving

log = get_logger(__name__)

Messages = ScheduleMessageItem | Iterable[ScheduleMessageItem]
Value = TypeVar("Value")

_STOP_MARGIN_SECONDS = 20.0
"""What ``stop`` may take beyond its grace time: handlers unwind, a server that does not answer is given up."""
_left_in_parent: list[Any] = []
"""Kept: the child of a fork that let a connection go would take it from the epoll that it shares with its parent."""
_PRELOADED_EVERY_SECONDS = 60
_PRELOADS = UUID("b0a7b7a0-52a5-4d43-9b0f-6a35e2a3a1c7")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.25


class AsyncMessageQueue:
    """The queue of a scheduler: ``scheduler.memos_message_queue``."""

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self._scheduler = scheduler

    @property
    def maxsize(self) -> int:
        """How many messages of one label may be unfinished (MEMSCHED_MAX_BACKLOG)."""
        return self._scheduler.settings.max_backlog

    async def submit_messages(self, messages: Messages, *, delay: Seconds = 0.0) -> list[SubmitResult]:
        """See ``scheduler.submit_messages``."""
        return await self._scheduler.submit_messages(messages, delay=delay)

    async def qsize(self) -> int:
        """How many messages are unfinished, of all labels."""
        return (await self._scheduler.read_status()).total.backlog

    async def empty(self) -> bool:
        """Whether none is."""
        return await self.qsize() == 0

    async def clear(self, label: str | None = None) -> int:
        """Drop all unfinished messages for good (of one label, or of all); returns how many. Dead letters stay."""
        return await self._scheduler.clear(label)

    def debug_mode_on(self) -> None:
        """The original's switch to a queue for tries. Nothing changes: each MEMSCHED_PREFIX is a queue of its own."""


class AsyncMemScheduler(OriginalNames):
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
        self.keys = Keys(self.settings.prefix, self.settings.partitions)
        self.orchestrator = Orchestrator(self.settings)
        self.memos_message_queue = AsyncMessageQueue(self)
        self.release = Release.by(self.settings.permissions)
        self.retriever = Retriever(
            self.memory, top_k=self.settings.top_k, method=self.settings.search_method, release=self.release
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
        self._memory = LazyServices(self.settings, self.keys, self.server)

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
            _left_in_parent.append((self._server, self._producer, self._worker, self._guard, services))
        elif self._server is not None:
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
            return await producer.submit_or_raise(messages_of(messages), delay_ms=delay_ms)
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
            found = [task.status for task in await find_tasks(await self.server(), self.keys, *which)]
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

    async def wait(self, *, user_id: str | None = None, timeout: Seconds | None = None) -> None:
        """Until all messages (of one user, or of all) are finished, and the follow-ups they led to.

        Messages that a foreign producer put in by plain XADD count for ``wait()``, not for ``wait(user_id=...)``.
        Raises WaitTimeout after ``timeout`` seconds, SchedulerStopped when somebody calls ``stop`` meanwhile,
        WorkerFailed when handlers ran here and their worker has failed, and MessagesLost when the server was emptied
        since messages were submitted here that are not known to be finished.
        """
        deadline = Deadline(seconds_or_none("timeout", timeout))
        stops = self._stops
        pauses = poll_pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        submits = self._submits
        while unfinished := await self._unfinished(user_id):
            pause = next(pauses)
            if pause > deadline.left:
                raise WaitTimeout(unfinished, deadline.seconds or 0.0)
            if self._has_failed():
                raise WorkerFailed(f"{unfinished} unfinished; call start() for another one.")
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

    async def _unfinished(self, user_id: str | None) -> int:
        if user_id is None:
            status = await self.read_status()
            if status.unknown and not status.total.backlog:
                label, why = next(iter(status.unknown.items()))
                raise ServerRefused(f"{why} (label {label!r}: nobody can say whether it is finished)")
            return status.total.backlog
        server = await self.server()
        return await server.persistently(lambda: count_unfinished(server, self.keys, user_id))

    # -- memory --------------------------------------------------------------------------------------------------

    async def memory(self) -> MemoryServices:
        """Cubes, store, search and the rest of the memory half, opened at the first call."""
        self._settle()
        return await self._memory.get()

    async def working_set(
        self,
        user_id: str,
        mem_cube_id: str,
        *,
        role: str | None = None,
        task: str | None = None,
        purpose: Purpose = "working_set",
    ) -> list[WorkingMemory]:
        """The memories that the next question of this cube will probably need, best first; one round trip.

        Raises CubeForbidden or UnknownCube.

        Args:
            role: a set for who acts in this role: what is bound to it (a message's ``info={"role": ..., "task": ...}``)
                first, also of other cubes that the user may read; nothing that is bound to another. It is computed
                when it is asked for.
            task: the same for a task.
            purpose: what for, if there is a permission hook that asks.
        """
        if role or task:
            return await self._bound_set(user_id, mem_cube_id, Context(role or "", task or ""), purpose)
        ref, found = await self._read_hot(user_id, mem_cube_id, HotStates.working_set_command)
        return self.release.memories(user_id, purpose, ref, found)

    async def _bound_set(
        self, user_id: str, mem_cube_id: str, context: Context, purpose: Purpose
    ) -> list[WorkingMemory]:
        services = await self.memory()
        asked = await services.cubes.resolve(user_id, mem_cube_id, Permission.READ)
        views = await services.cubes.cubes_of(user_id)
        cubes = [(mem_cube_id, asked), *((view.name, view.ref) for view in views if view.name != mem_cube_id)]
        parts = await services.bound_sets.of(context, cubes)
        found = [each for part in parts for each in self.release.memories(user_id, purpose, part.ref, part.memories)]
        return sorted(found, key=lambda each: "bound" not in each.sources)

    async def preload(self, user_id: str, mem_cube_id: str, session_id: str | None = None) -> None:
        """A conversation begins: have the working set and the activation block made ready. Returns at once.

        As often as one likes: of one conversation, once a minute counts. Raises CubeForbidden, UnknownCube, and as
        ``submit_messages``.
        """
        await Cubes(await self.server(), self.keys, self.settings).resolve(user_id, mem_cube_id, Permission.READ)
        cause = json.dumps([user_id, mem_cube_id, session_id, int(time.time() // _PRELOADED_EVERY_SECONDS)])
        message = ScheduleMessageItem(
            item_id=str(uuid5(_PRELOADS, cause)),
            user_id=user_id,
            mem_cube_id=mem_cube_id,
            label=PRELOAD_TASK_LABEL,
            content="",
            session_id=session_id,
        )
        await self.submit_messages(message)

    async def predict(self, user_id: str, mem_cube_id: str, text: str, session_id: str | None = None) -> None:
        """Somebody is typing a question: have near what it will need, in MEMSCHED_PREDICT_SLOTS places.

        Returns at once. Call it with all that is typed so far, at each key if you like: it waits
        MEMSCHED_PREDICT_DELAY_MS for more, and only the last text is looked at. With the question (``query``) nothing
        is left of it. In a cube that the user may only read it does nothing. Raises CubeForbidden, UnknownCube, and as
        ``submit_messages``.
        """
        server = await self.server()
        view = await Cubes(server, self.keys, self.settings).view(user_id, mem_cube_id, Permission.READ)
        if not (self.settings.predict_slots and text.strip() and view.permission.allows(Permission.WRITE)):
            return
        message = ScheduleMessageItem(
            user_id=user_id,
            mem_cube_id=mem_cube_id,
            label=PREDICT_TASK_LABEL,
            content=text,
            session_id=session_id,
        )
        await HotStates(server, self.keys).typing(view.ref, message.item_id)
        await self.submit_messages(message, delay=self.settings.predict_delay_ms / 1000)

    async def activation(self, user_id: str, mem_cube_id: str) -> ActivationBlock:
        """The text that goes first in the prompts about this cube, byte for byte; one round trip.

        It stays the same, or grows at its end, as long as it can, so that a model server's prefix cache hits it. Raises
        CubeForbidden or UnknownCube.
        """
        ref, members = await self._read_hot(user_id, mem_cube_id, HotStates.activation_command)
        said = {each.memory_id: each.said for each in members}
        texts = self.release.texts(user_id, "activation", ref, said)
        return ActivationBlock.of(
            [
                each if texts[each.memory_id] == each.said else Member.of(each.memory_id, texts[each.memory_id])
                for each in members
                if each.memory_id in texts
            ]
        )

    async def _read_hot(
        self, user_id: str, mem_cube_id: str, command_for: Callable[[HotStates, CubeRef], Command[Value]]
    ) -> tuple[CubeRef, Value]:
        """A cube that the user may read, and a part of its hot state."""
        server = await self.server()
        cubes, states = Cubes(server, self.keys, self.settings), HotStates(server, self.keys)
        own = CubeRef(user_id, mem_cube_id)
        # Nearly always it is the user's own cube: asked for together with the question whether it is.
        commands: list[Command[Any]] = [cubes.resolve_command(user_id, mem_cube_id), command_for(states, own)]
        access, value = map(answered, await server.persistently(lambda: server.run(commands)))
        ref = await cubes.admit(access, Permission.READ)
        if ref != own:
            value = await server.persistently(lambda: server.call(command_for(states, ref)))
        return ref, value

    async def themes(self, user_id: str, mem_cube_id: str) -> list[Theme]:
        """What the cube's memories are about, the hottest theme first, at the time of its latest message.

        Raises CubeForbidden, UnknownCube or StoreUnavailable.
        """
        services = await self.memory()
        ref = await services.cubes.resolve(user_id, mem_cube_id, Permission.READ)
        found = await services.working_sets.themes(ref)
        return self.release.themes(user_id, "themes", ref, found, await services.working_sets.members(ref))

    async def explain(self, user_id: str, mem_cube_id: str, memory_id: str | None = None) -> Explanation:
        """What stands where in a cube, and why: the modes' shares, themes, pins, the last moves.

        Raises CubeForbidden, UnknownCube, UnknownMemory or StoreUnavailable.

        Args:
            memory_id: also where this memory stands, what its value is made of, and what would make it move.
        """
        services = await self.memory()
        ref = await services.cubes.resolve(user_id, mem_cube_id, Permission.READ)
        found = await services.explainer.explain(ref, memory_id)
        return self._released(user_id, ref, found, await services.working_sets.members(ref))

    def _released(
        self, reader: str, ref: CubeRef, found: Explanation, members: Mapping[str, CubeMemory]
    ) -> Explanation:
        """An explanation, as far as the permission hook lets it. Raises UnknownMemory for what may not leave."""
        themes = self.release.themes(reader, "explain", ref, found.themes, members)
        memory = found.memory
        if memory is not None:
            theme = next((each for each in themes if memory.memory_id in each.memory_ids), None)
            released = self.release.memories(reader, "explain", ref, [members[memory.memory_id]])
            if not released:
                raise UnknownMemory(memory.memory_id)
            memory = memory.model_copy(update={"text": released[0].indexed_text, "theme": theme})
        return found.model_copy(update={"themes": themes, "memory": memory})

    async def pin(self, user_id: str, mem_cube_id: str, memory_id: str) -> bool:
        """Keep a memory in the working set and out of the archive, until ``unpin``; whether it was not pinned already.

        At most half of a working set may be pinned. Raises TooManyPins, MemorySuperseded, UnknownMemory, CubeForbidden,
        UnknownCube or StoreUnavailable.
        """
        moving, ref = await self._moving(user_id, mem_cube_id)
        return await moving.pin(ref, memory_id, user_id=user_id, name=mem_cube_id)

    async def unpin(self, user_id: str, mem_cube_id: str, memory_id: str) -> bool:
        """Let a memory come and go as others do; whether it was pinned. Raises as ``pin``."""
        moving, ref = await self._moving(user_id, mem_cube_id)
        return await moving.unpin(ref, memory_id, user_id=user_id, name=mem_cube_id)

    async def archive(self, user_id: str, mem_cube_id: str, memory_id: str) -> bool:
        """Put a memory away, until ``restore``: neither near nor found, unless a search asks for the archive too.

        Returns whether it was not put away by hand already. Raises MemoryPinned, and as ``pin``.
        """
        moving, ref = await self._moving(user_id, mem_cube_id)
        return await moving.archive(ref, memory_id, user_id=user_id, name=mem_cube_id)

    async def restore(self, user_id: str, mem_cube_id: str, memory_id: str) -> bool:
        """Bring a memory back from the archive; whether it was there. Raises as ``pin``."""
        moving, ref = await self._moving(user_id, mem_cube_id)
        return await moving.restore(ref, memory_id, user_id=user_id, name=mem_cube_id)

    async def _moving(self, user_id: str, mem_cube_id: str) -> tuple[Moving, CubeRef]:
        """What moves memories of this cube by hand. Raises CubeForbidden or UnknownCube."""
        services = await self.memory()
        return services.moving, await services.cubes.resolve(user_id, mem_cube_id, Permission.WRITE)

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
        and ``"unknown": {label: why}`` for labels about which the server refused the question. ``oldest_seconds`` is
        None where no message waits in a stream.
        """
        return (await self.read_status()).as_dict()

    async def print_tasks_status(self, tasks_status: Mapping[str, Any] | None = None) -> None:
        """Print the status as a table: what ``get_tasks_status`` returned, or (None) that of now."""
        print_status(await self.read_status() if tasks_status is None else Status.from_dict(tasks_status))

    async def dead_letters(self) -> DeadLetters:
        """What was given up: to list, redrive or purge."""
        return DeadLetters(await self.server(), self.keys)

    async def get_web_log_messages(self, limit: int = 100) -> list[ScheduleLogForWebItem]:
        """The newest memory events, oldest first."""
        server = await self.server()
        return self.release.events(await server.persistently(lambda: server.call(newest_events(self.keys, limit))))

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


class MessageQueue:
    """The queue of a scheduler, without ``await``: ``scheduler.memos_message_queue``."""

    def __init__(self, scheduler: MemScheduler) -> None:
        self._scheduler = scheduler

    @property
    def maxsize(self) -> int:
        """How many messages of one label may be unfinished (MEMSCHED_MAX_BACKLOG)."""
        return self._scheduler.settings.max_backlog

    def submit_messages(self, messages: Messages, *, delay: Seconds = 0.0) -> list[SubmitResult]:
        """See ``scheduler.submit_messages``."""
        return self._scheduler.submit_messages(messages, delay=delay)

    def qsize(self) -> int:
        """How many messages are unfinished, of all labels."""
        return self._scheduler.read_status().total.backlog

    def empty(self) -> bool:
        """Whether none is."""
        return self.qsize() == 0

    def clear(self, label: str | None = None) -> int:
        """Drop all unfinished messages for good (of one label, or of all); returns how many. Dead letters stay."""
        return self._scheduler.clear(label)

    def debug_mode_on(self) -> None:
        """The original's switch to a queue for tries. Nothing changes: each MEMSCHED_PREFIX is a queue of its own."""


class SyncRetriever(Blocking[Retriever]):
    """Search in the cubes that a user may read, without ``await``."""

    search = blocking(Retriever.search)


class MemScheduler(OriginalNames, Blocking[AsyncMemScheduler]):
    """``AsyncMemScheduler`` for code without an event loop: the same methods, run on a loop in a thread of its own.

    Async handlers run on that loop, sync handlers in threads.

    - Threads: any number may use it at once. ``stop`` ends what others still wait for with SchedulerStopped. A sync
      handler of its own may use it too; an async one gets CalledFromOwnLoop, and submits with its context.
    - Forks: a child (gunicorn's workers with preload, multiprocessing) opens connections of its own at its first call.
      Handlers run where ``start`` was called: a child that shall run them calls it itself. A memory:// queue
      stays in the parent; calls in the child raise LeftInParent.
    - Event loops: within a running one it works, and holds that loop up until the call returns. AsyncMemScheduler
      does not.
    - Ctrl-C ends the call that waits. In ``stop`` it cuts the grace time short, and everything is handed back.
    - The end of the main thread is a stop, with the grace time of MEMSCHED_GRACE_SECONDS: by an exception, by sys.exit,
      or because the script is over. Keep it in ``wait`` or ``join`` as long as handlers shall run. What only submits
      may be used by other threads until they have ended.
    """

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        super().__init__(AsyncMemScheduler(settings, **given), EventLoopThread())
        self._exit = StopAtExit(self.stop)
        self.settings = self._async.settings
        self.orchestrator = self._async.orchestrator
        self.memos_message_queue = MessageQueue(self)
        self.retriever = SyncRetriever(self._async.retriever, self._thread)

    current_mem_cube = shared(AsyncMemScheduler.current_mem_cube)
    search_method = shared(AsyncMemScheduler.search_method)
    working_set_policy = shared(AsyncMemScheduler.working_set_policy)
    transition_rules = shared(AsyncMemScheduler.transition_rules)

    register_handlers = direct(AsyncMemScheduler.register_handlers)
    add_middleware = direct(AsyncMemScheduler.add_middleware)

    @property
    def running(self) -> bool:
        """Whether handlers run here: from ``start`` to ``stop``, in the process that started, while its loop runs.

        Not any more either when a part of the worker has failed (``action=worker.failed`` says what); ``start`` again
        makes another one, and submitting goes on all the same.
        """
        return self._async.running

    submit_messages = blocking(AsyncMemScheduler.submit_messages)
    get_task_status = blocking(AsyncMemScheduler.get_task_status)
    cancel_task = blocking(AsyncMemScheduler.cancel_task)
    wait = blocking(AsyncMemScheduler.wait)

    working_set = blocking(AsyncMemScheduler.working_set)
    preload = blocking(AsyncMemScheduler.preload)
    predict = blocking(AsyncMemScheduler.predict)
    activation = blocking(AsyncMemScheduler.activation)
    themes = blocking(AsyncMemScheduler.themes)
    explain = blocking(AsyncMemScheduler.explain)
    pin = blocking(AsyncMemScheduler.pin)
    unpin = blocking(AsyncMemScheduler.unpin)
    archive = blocking(AsyncMemScheduler.archive)
    restore = blocking(AsyncMemScheduler.restore)

    read_status = blocking(AsyncMemScheduler.read_status)
    get_tasks_status = blocking(AsyncMemScheduler.get_tasks_status)
    print_tasks_status = blocking(AsyncMemScheduler.print_tasks_status)

    def dead_letters(self) -> SyncDeadLetters:
        """What was given up: to list, redrive or purge."""
        return SyncDeadLetters(self._thread.call(self._async.dead_letters), self._thread)

    get_web_log_messages = blocking(AsyncMemScheduler.get_web_log_messages)
    pause = blocking(AsyncMemScheduler.pause)
    resume = blocking(AsyncMemScheduler.resume)
    clear = blocking(AsyncMemScheduler.clear)

    def start(self) -> None:
        """Begin to run handlers in this process: those registered, and memsched's own for the other labels.

        Raises SchedulerNotStarted if there is none (MEMSCHED_MEMORY=false, and none registered).
        """
        if not threading.main_thread().is_alive():
            raise SchedulerNotStarted("The main thread has ended, and with it this process's time to run handlers.")
        self._exit.arm(early=True)
        self._thread.call(self._async.start)

    def stop(self, grace_seconds: Seconds | None = None) -> None:
        """Let running handlers end, hand the rest back, close all connections. Who is in ``wait`` gets
        SchedulerStopped. It may be started again.
        """
        given = seconds_or_none("grace_seconds", grace_seconds)
        self._exit.disarm()
        if not self._thread.running:
            return
        grace = self.settings.grace_seconds if given is None else given
        try:
            self._thread.call(lambda: self._async.stop(grace), grace + _STOP_MARGIN_SECONDS)
        except TimeoutError:
            log.error(
                "a handler blocks the event loop; what is unfinished is claimed after its min idle",
                action="stop.timed_out",
            )
        except KeyboardInterrupt:
            self._thread.call(lambda: self._async.stop(0.0), _STOP_MARGIN_SECONDS)
            raise
        finally:
            self._thread.close()

    def __enter__(self) -> Self:
        if self.orchestrator.handlers:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- the original's names for its Redis queue ----------------------------------------------------------------

    def initialize_redis(self) -> None:
        """Connect, rather than at the first call. Raises ServerUnreachable."""
        self._thread.call(self._async.server)

    def redis_start_listening(self, handler: Any = None) -> None:
        """See ``start``.

        Args:
            handler: as the original takes it, and leaves it aside: handlers are registered by label.
        """
        self.start()

    def redis_add_message_stream(self, message: Mapping[str, Any]) -> AwaitableText:
        """Submit what ``message_item.to_dict()`` returned; returns its item id, which may be awaited as well: in
        versions of the original this was a coroutine.
        """
        (result,) = self.submit_messages(ScheduleMessageItem.from_dict(message))
        return AwaitableText(result.item_id)

    def redis_stop_listening(self) -> None:
        """See ``stop``."""
        self.stop()

    def redis_close(self) -> None:
        """See ``stop``."""
        self.stop()


def _which(message: ScheduleMessageItem | str, user_id: str | None, label: str | None) -> tuple[str, str, str | None]:
    """A message's user, item id and label, as ``find_tasks`` wants them. An item id says them with its call."""
    if not isinstance(message, str):
        return message.user_id, message.item_id, message.label
    if user_id is None:
        raise InvalidArgument("user_id", None, "ids are the user's own; say whose this one is")
    return user_id, message, label


def _is_there(process: int, loop: asyncio.AbstractEventLoop) -> bool:
    return process == os.getpid() and not loop.is_closed()


def show_web_logs(scheduler: MemScheduler, limit: int = 100) -> None:
    """Print the newest memory events of a scheduler as a table."""
    print_events(scheduler.get_web_log_messages(limit))


__all__ = ["AsyncMemScheduler", "MemScheduler", "TaskStatus", "show_web_logs"]
