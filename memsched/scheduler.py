"""The face of the library: ``AsyncMemScheduler``, and ``MemScheduler``, the same without ``await``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import CancelledError
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from memsched.broker.keys import Keys
from memsched.broker.scripting import Command
from memsched.errors import SchedulerNotStarted, WaitTimeout
from memsched.handlers import add_memory_handlers
from memsched.handlers.lazy_services import LazyServices
from memsched.messages import ScheduleLogForWebItem, ScheduleMessageItem, messages_of
from memsched.queue.clear import clear
from memsched.queue.events import newest_events
from memsched.queue.status import TaskStatus, count_unfinished, read_status, task_status
from memsched.settings import Settings
from memsched.task_status import SubmitResult
from memsched.worker.handlers import HandlerEntry, Orchestrator

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from memsched.broker.client import Server
    from memsched.handlers.services import MemoryServices
    from memsched.memory.search.arguments import SearchResult
    from memsched.policy.strategy import WorkingSetPolicy
    from memsched.queue.dead_letters import DeadLetters
    from memsched.queue.status import Status
    from memsched.queue.submit import Producer
    from memsched.tiers.hot_state import WorkingMemory
    from memsched.worker.worker import Worker

T = TypeVar("T")
Messages = ScheduleMessageItem | Iterable[ScheduleMessageItem]


class AsyncMessageQueue:
    """The queue of a scheduler: ``scheduler.memos_message_queue``."""

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self._scheduler = scheduler

    async def submit_messages(self, messages: Messages, *, delay: float = 0.0) -> list[SubmitResult]:
        return await self._scheduler.submit_messages(messages, delay=delay)

    async def qsize(self) -> int:
        """How many messages are unfinished, of all labels."""
        return (await self._scheduler.read_status()).total.backlog

    async def clear(self, label: str | None = None) -> int:
        """Drop all unfinished messages for good (of one label, or of all); gives how many. Dead letters stay."""
        return await self._scheduler.clear(label)


class AsyncRetriever:
    """Search in the cubes that a user may read: ``scheduler.retriever``."""

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self._scheduler = scheduler

    async def search(
        self,
        query: str,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        mem_cube: Any = None,
        top_k: int | None = None,
        method: str | None = None,
        search_args: Mapping[str, Any] | None = None,
    ) -> list[SearchResult]:
        """See memsched.memory.search.retriever.Retriever.search."""
        scheduler = self._scheduler
        services = await scheduler.memory()
        if mem_cube is None and mem_cube_id is None:
            mem_cube = scheduler.current_mem_cube
        method = method or scheduler.search_method
        return await services.retriever.search(query, user_id, mem_cube_id, mem_cube, top_k, method, search_args)


class AsyncMemScheduler:
    """Submits messages, and runs handlers in this process once it is started.

    Used for submitting only, it needs no ``start``. It may serve as an async context manager, which starts and stops
    it. Raises SettingsError for bad settings when it is made, ServerUnreachable at the first call.
    """

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        """``settings``, or the environment with ``given`` over it: ``AsyncMemScheduler(redis_url="memory://")``."""
        if settings is not None and given:
            raise TypeError("give settings or single values, not both")
        self.settings = settings or Settings.load(**given)
        self.keys = Keys(self.settings.prefix, self.settings.partitions)
        self.orchestrator = Orchestrator(self.settings)
        self.memos_message_queue = AsyncMessageQueue(self)
        self._server: Server | None = None
        self._producer: Producer | None = None
        self._worker: Worker | None = None
        self._opening = asyncio.Lock()
        self._memory = LazyServices(self.settings, self.keys, self.server)
        self.retriever = AsyncRetriever(self)
        self.current_mem_cube: Any = None
        """The cube (a GeneralMemCube, a CubeRef) that ``retriever.search`` means when it is told none."""
        self.search_method: str = self.settings.search_method

    @property
    def working_set_policy(self) -> WorkingSetPolicy | None:
        """What chooses the working sets in this process, or where MEMSCHED_APP names this; None: memsched's own.

        To be set before the first use of memory.
        """
        return self._memory.policy

    @working_set_policy.setter
    def working_set_policy(self, policy: WorkingSetPolicy | None) -> None:
        self._memory.policy = policy

    # -- handlers ------------------------------------------------------------------------------------------------

    def register_handlers(self, handlers: Mapping[str, HandlerEntry]) -> None:
        """Say which function runs which label: ``{label: handle}``, ``{label: (handle, priority, min_idle_ms)}``,
        or ``{label: Handler(handle, timeout_seconds=5, ...)}``. Before ``start``.
        """
        if self._worker is not None:
            raise SchedulerNotStarted("Handlers must be registered before start(); stop() first.")
        self.orchestrator.register(handlers)

    async def start(self) -> None:
        """Begin to run handlers in this process: those registered, and memsched's own for the other labels.

        Raises SchedulerNotStarted if there is none (MEMSCHED_MEMORY=false, and none registered).
        """
        from memsched.worker.worker import Worker

        if self._worker is not None:
            return
        server = await self.server()
        if self.settings.memory:
            add_memory_handlers(self.orchestrator, self._memory)
        worker = Worker(server, self.keys, self.settings, self.orchestrator)
        await worker.start()
        self._worker = worker

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Let running handlers end, hand the rest back, close all connections."""
        if self._worker is not None:
            await self._worker.stop(grace_seconds)
            self._worker = None
        await self._memory.aclose()
        if self._server is not None:
            await self._server.aclose()
            self._server = self._producer = None

    async def __aenter__(self) -> Self:
        if self.orchestrator.handlers:
            await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- messages ------------------------------------------------------------------------------------------------

    async def submit_messages(self, messages: Messages, *, delay: float = 0.0) -> list[SubmitResult]:
        """Submit one message or several; when it returns, they are kept until they are handled.

        delay: seconds before they may run. A message whose item_id is known already is a ``duplicate``, and not run
        twice. Raises QueueFull (with the results), InvalidMessage (nothing was submitted) and ServerUnreachable
        (submit the same messages again).
        """
        producer = await self._get_producer()
        return await producer.submit_or_raise(messages_of(messages), delay_ms=int(delay * 1000))

    async def get_task_status(self, message: ScheduleMessageItem) -> TaskStatus | None:
        """Where a message is; None if it is not known (any more: see MEMSCHED_TASK_TTL_SECONDS)."""
        lane = self.keys.lane(message.label, message.user_id, message.mem_cube_id)
        server = await self.server()
        return await server.persistently(lambda: server.call(task_status(lane, message.item_id)))

    async def wait(self, *, user_id: str | None = None, timeout: float | None = None) -> None:
        """Until all messages (of one user, or of all) are finished, and the follow-ups they led to.

        Messages that a foreign producer put in by plain XADD count for ``wait()``, not for ``wait(user_id=...)``.
        Raises WaitTimeout after ``timeout`` seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        pause = 0.01
        while unfinished := await self._unfinished(user_id):
            if deadline is not None and loop.time() + pause > deadline:
                raise WaitTimeout(unfinished, timeout or 0.0)
            await asyncio.sleep(pause)
            pause = min(0.25, pause * 1.3)

    async def _unfinished(self, user_id: str | None) -> int:
        if user_id is None:
            return (await self.read_status()).total.backlog
        server = await self.server()
        return await server.persistently(lambda: count_unfinished(server, self.keys, user_id))

    # -- memory --------------------------------------------------------------------------------------------------

    async def memory(self) -> MemoryServices:
        """Cubes, store, search and the rest of the memory half, opened at the first call."""
        return await self._memory.get()

    async def working_set(self, user_id: str, mem_cube_id: str) -> list[WorkingMemory]:
        """The memories that the next question of this cube will probably need, best first; one round trip.

        Raises CubeForbidden or UnknownCube.
        """
        from memsched.broker.client import answered
        from memsched.memory.access.cubes import Cubes
        from memsched.memory.access.permissions import CubeRef, Permission
        from memsched.tiers.hot_state import HotStates

        server = await self.server()
        cubes, states = Cubes(server, self.keys, self.settings), HotStates(server, self.keys)
        own = CubeRef(user_id, mem_cube_id)
        # Nearly always it is the user's own cube: asked for together with the question whether it is.
        commands: list[Command[Any]] = [cubes.resolve_command(user_id, mem_cube_id), states.working_set_command(own)]
        access, working_set = map(answered, await server.persistently(lambda: server.run(commands)))
        ref = await cubes.admit(access, Permission.READ)
        if ref != own:
            working_set = await server.persistently(lambda: server.call(states.working_set_command(ref)))
        return list(working_set)

    # -- status --------------------------------------------------------------------------------------------------

    async def read_status(self) -> Status:
        """The state of all labels, as an object."""
        server = await self.server()
        return await server.persistently(
            lambda: read_status(server, self.keys, self.settings, labels=self.orchestrator.handlers)
        )

    async def get_tasks_status(self) -> dict[str, Any]:
        """``{"backlog", "remaining", "running", "orphaned", "delayed", "dead", "labels": {...}, "workers": [...]}``."""
        return (await self.read_status()).as_dict()

    async def print_tasks_status(self) -> None:
        """Print the status as a table."""
        from memsched.console.tables import print_status

        print_status(await self.read_status())

    async def dead_letters(self) -> DeadLetters:
        """What was given up: to list, redrive or purge."""
        from memsched.queue.dead_letters import DeadLetters

        return DeadLetters(await self.server(), self.keys)

    async def get_web_log_messages(self, limit: int = 100) -> list[ScheduleLogForWebItem]:
        """The newest memory events, oldest first."""
        server = await self.server()
        return await server.persistently(lambda: server.call(newest_events(self.keys, limit)))

    async def clear(self, label: str | None = None) -> int:
        """Drop all unfinished messages for good (of one label, or of all); gives how many."""
        return await clear(await self.server(), self.keys, label)

    # -- connection ----------------------------------------------------------------------------------------------

    async def server(self) -> Server:
        """The connection, opened at the first call."""
        if self._server is not None:
            return self._server
        from memsched.broker.client import Server

        async with self._opening:
            if self._server is None:
                self._server = await Server.connect(self.settings)
            return self._server

    async def _get_producer(self) -> Producer:
        from memsched.queue.submit import Producer

        server = await self.server()
        if self._producer is None:
            self._producer = Producer(server, self.keys, self.settings)
        return self._producer


class MessageQueue:
    """The queue of a scheduler, without ``await``."""

    def __init__(self, scheduler: MemScheduler) -> None:
        self._scheduler = scheduler

    def submit_messages(self, messages: Messages, *, delay: float = 0.0) -> list[SubmitResult]:
        return self._scheduler.submit_messages(messages, delay=delay)

    def qsize(self) -> int:
        """How many messages are unfinished, of all labels."""
        return self._scheduler.read_status().total.backlog

    def clear(self, label: str | None = None) -> int:
        """Drop all unfinished messages for good (of one label, or of all); gives how many. Dead letters stay."""
        return self._scheduler.clear(label)


class Retriever:
    """Search in the cubes that a user may read, without ``await``."""

    def __init__(self, scheduler: MemScheduler) -> None:
        self._scheduler = scheduler

    def search(
        self,
        query: str,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        mem_cube: Any = None,
        top_k: int | None = None,
        method: str | None = None,
        search_args: Mapping[str, Any] | None = None,
    ) -> list[SearchResult]:
        """See memsched.memory.search.retriever.Retriever.search."""
        return self._scheduler._search(query, user_id, mem_cube_id, mem_cube, top_k, method, search_args)


class MemScheduler:
    """``AsyncMemScheduler`` for code without an event loop: the same methods, run on a loop in a thread of its own.

    Async handlers run on that loop, sync handlers in threads. Not to be used from within a handler of its own: a
    handler submits through its context.
    """

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        self._async = AsyncMemScheduler(settings, **given)
        self.settings = self._async.settings
        self.orchestrator = self._async.orchestrator
        self.memos_message_queue = MessageQueue(self)
        self.retriever = Retriever(self)
        self._stack = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None

    def register_handlers(self, handlers: Mapping[str, HandlerEntry]) -> None:
        """See AsyncMemScheduler.register_handlers."""
        self._async.register_handlers(handlers)

    def start(self) -> None:
        """Begin to run handlers in this process."""
        self._call(self._async.start)

    def stop(self, grace_seconds: float | None = None) -> None:
        """Let running handlers end, hand the rest back, close all connections."""
        if self._portal is None:
            return
        try:
            self._call(self._async.stop, grace_seconds)
        finally:
            self._portal = None
            with contextlib.suppress(CancelledError):
                self._stack.close()

    def submit_messages(self, messages: Messages, *, delay: float = 0.0) -> list[SubmitResult]:
        """See AsyncMemScheduler.submit_messages."""
        return self._call(lambda: self._async.submit_messages(messages, delay=delay))

    def get_task_status(self, message: ScheduleMessageItem) -> TaskStatus | None:
        """See AsyncMemScheduler.get_task_status."""
        return self._call(self._async.get_task_status, message)

    def wait(self, *, user_id: str | None = None, timeout: float | None = None) -> None:
        """See AsyncMemScheduler.wait."""
        self._call(lambda: self._async.wait(user_id=user_id, timeout=timeout))

    def _search(self, *args: Any) -> list[SearchResult]:
        return self._call(self._async.retriever.search, *args)

    def working_set(self, user_id: str, mem_cube_id: str) -> list[WorkingMemory]:
        """See AsyncMemScheduler.working_set."""
        return self._call(self._async.working_set, user_id, mem_cube_id)

    @property
    def current_mem_cube(self) -> Any:
        """See AsyncMemScheduler.current_mem_cube."""
        return self._async.current_mem_cube

    @current_mem_cube.setter
    def current_mem_cube(self, mem_cube: Any) -> None:
        self._async.current_mem_cube = mem_cube

    @property
    def working_set_policy(self) -> WorkingSetPolicy | None:
        """See AsyncMemScheduler.working_set_policy."""
        return self._async.working_set_policy

    @working_set_policy.setter
    def working_set_policy(self, policy: WorkingSetPolicy | None) -> None:
        self._async.working_set_policy = policy

    @property
    def search_method(self) -> str:
        """How ``retriever.search`` ranks when it is not told."""
        return self._async.search_method

    @search_method.setter
    def search_method(self, method: str) -> None:
        self._async.search_method = method

    def read_status(self) -> Status:
        return self._call(self._async.read_status)

    def get_tasks_status(self) -> dict[str, Any]:
        """See AsyncMemScheduler.get_tasks_status."""
        return self._call(self._async.get_tasks_status)

    def print_tasks_status(self) -> None:
        """Print the status as a table."""
        self._call(self._async.print_tasks_status)

    def get_web_log_messages(self, limit: int = 100) -> list[ScheduleLogForWebItem]:
        """The newest memory events, oldest first."""
        return self._call(self._async.get_web_log_messages, limit)

    def clear(self, label: str | None = None) -> int:
        """Drop all unfinished messages for good (of one label, or of all); gives how many."""
        return self._call(self._async.clear, label)

    def __enter__(self) -> Self:
        if self.orchestrator.handlers:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        if self._portal is None:
            from anyio.from_thread import start_blocking_portal

            self._portal = self._stack.enter_context(start_blocking_portal(name="memsched"))
        return self._portal.call(function, *args)


def show_web_logs(scheduler: MemScheduler, limit: int = 100) -> None:
    """Print the newest memory events of a scheduler as a table."""
    from memsched.console.tables import print_events

    print_events(scheduler.get_web_log_messages(limit))


__all__ = ["AsyncMemScheduler", "MemScheduler", "TaskStatus", "show_web_logs"]
