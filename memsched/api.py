"""Ready-made objects for scripts: ``from memsched.api import mem_scheduler``.

    from memsched import ScheduleMessageItem
    from memsched.api import mem_scheduler

    mem_scheduler.register_handlers({"MY_TASK": handle})
    mem_scheduler.submit_messages([ScheduleMessageItem(...)])
    mem_scheduler.wait(user_id="alice", timeout=60)

and with the requests of the original's web server, without one:

    from memsched.api import APIADDRequest, ChatPlaygroundRequest, add_handler, chat_stream_playground

    add_handler.handle_add_memories(APIADDRequest(user_id="alice", messages=[...], async_mode="sync"))
    response = chat_stream_playground(ChatPlaygroundRequest(user_id="alice", query="..."))
    async for event in response.body_iterator:  # data: {"type": "text", "data": "..."}

There is one scheduler per process. It is made from the environment, and started, when it is first used; the import
needs no server. It is stopped when the main thread ends, or by its ``stop``, after which ``start`` starts it again. A
child process that uses it after a fork runs handlers too. A worker process (``memsched worker --app
my_script:mem_scheduler``) runs its handlers itself, and does not start it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from memsched.blocking import Blocking, blocking, iterating
from memsched.durations import Seconds
from memsched.errors import WaitTimeout
from memsched.mos.mos import AsyncMOS
from memsched.mos.options import MosOptions
from memsched.original_requests import APIADDRequest, ChatPlaygroundRequest, OriginalCalls
from memsched.settings import Settings
from memsched.sync_scheduler import MemScheduler
from memsched.worker.handlers import HandlerEntry
from memsched.worker.worker import is_a_worker_process


class _Started(MemScheduler):
    """Starts by itself, once in each process that uses it: as soon as there is a handler to run."""

    @cached_property
    def calls(self) -> SyncCalls:
        """The original's requests, on this scheduler."""
        mos = AsyncMOS.over(self._async, MosOptions(enable_mem_scheduler=False))
        return SyncCalls(OriginalCalls(mos), self._thread)

    def __init__(self) -> None:
        super().__init__()
        self._started_in: int | None = None

    def begin(self) -> None:
        may_start = not is_a_worker_process() and self._started_in != os.getpid()
        if may_start and (self.settings.memory or self.orchestrator.handlers):
            self.start()
            self._started_in = os.getpid()

    def register_handlers(self, handlers: Mapping[str, HandlerEntry]) -> None:
        super().register_handlers(handlers)
        self.begin()


class SyncCalls(Blocking[OriginalCalls]):
    """``OriginalCalls`` without ``await``."""

    add = blocking(OriginalCalls.add)
    chat_events = iterating(OriginalCalls.chat_events)


class _OnFirstUse:
    """Stands for a MemScheduler that is made when something of it is asked for."""

    def __init__(self) -> None:
        self.__dict__["_lock"] = threading.RLock()
        self.__dict__["_made"] = None

    @property  # type: ignore[misc]
    def __class__(self) -> type[MemScheduler]:  # type: ignore[override]
        return MemScheduler

    def _scheduler(self) -> _Started:
        with self._lock:
            if self._made is None:
                self.__dict__["_made"] = _Started()
            made: _Started = self._made
            made.begin()
            return made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of inspect, copy and their like, which look at everything in a module
            raise AttributeError(name)
        return getattr(self._scheduler(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._scheduler(), name, value)

    def __dir__(self) -> list[str]:
        return dir(MemScheduler)

    def __enter__(self) -> MemScheduler:
        return self._scheduler()

    def __exit__(self, *_: object) -> None:
        self._scheduler().stop()

    def __repr__(self) -> str:
        return "<memsched.api.mem_scheduler: " + ("not used yet>" if self._made is None else f"{self._made!r}>")


_on_first_use = _OnFirstUse()
os.register_at_fork(after_in_child=lambda: _on_first_use.__dict__.update(_lock=threading.RLock()))

mem_scheduler = cast(MemScheduler, _on_first_use)
"""The scheduler of this process."""
status_tracker = mem_scheduler
"""The original's keeper of states; memsched's states are on the server, and the scheduler reads them."""


def handle_scheduler_status(
    user_id: str | None = None, status_tracker: MemScheduler = status_tracker
) -> dict[str, Any]:
    """See ``MemScheduler.get_tasks_status``: of all users, for labels are shared by them."""
    return status_tracker.get_tasks_status()


def handle_scheduler_wait(
    user_name: str | None = None,
    status_tracker: MemScheduler = status_tracker,
    timeout_seconds: Seconds = 120.0,
    poll_interval: Seconds = 0.5,
) -> dict[str, Any]:
    """Wait until a user's messages (None: all) are finished; ``{"message", "data": {"timed_out", ...}}``.

    Args:
        poll_interval: the original's; here the pauses grow from 10 ms to 250 ms.
    """
    try:
        status_tracker.wait(user_id=user_name, timeout=timeout_seconds)
    except WaitTimeout as late:
        data = {"running_tasks": late.unfinished, "timed_out": True, "user_name": user_name}
        return {"message": "timeout", "data": data}
    return {"message": "idle", "data": {"running_tasks": 0, "timed_out": False, "user_name": user_name}}


@dataclass(frozen=True, slots=True)
class MemoryResponse:
    """An answer in the original's envelope."""

    data: list[dict[str, Any]]
    message: str = "Memory added successfully"
    code: int = 200


class AddHandler:
    """Remembers what scripts for the original hand to its handler."""

    def handle_add_memories(self, add_req: APIADDRequest) -> MemoryResponse:
        """Have something remembered; with ``async_mode="sync"`` it can be found when this returns.

        ``data`` has an entry for each cube: ``{"cube_id", "task_id", "status"}``. Raises as ``MOS.add``.
        """
        return MemoryResponse(_on_first_use._scheduler().calls.add(add_req))


add_handler = AddHandler()


class EventStream:
    """An answer in events, as it comes: ``async for event in response.body_iterator``."""

    media_type = "text/event-stream"

    def __init__(self, events: Callable[[], Iterator[str]]) -> None:
        self.body_iterator: AsyncIterator[str] = _in_threads(events)


def chat_stream_playground(chat_req: ChatPlaygroundRequest) -> EventStream:
    """Ask a cube; the events are ``data: {"type": "text", "data": a piece}``, and at the end ``{"type": "end"}``.

    What is said is remembered. Without a model, the answer is what the cube knows about the question, and says so.
    """
    return EventStream(lambda: _on_first_use._scheduler().calls.chat_events(chat_req))


async def _in_threads(events: Callable[[], Iterator[str]]) -> AsyncGenerator[str, None]:
    """Iterate without holding up the event loop of whoever asks: the scheduler has one of its own."""
    found = await asyncio.to_thread(events)
    try:
        while (event := await asyncio.to_thread(next, found, None)) is not None:
            yield event
    finally:
        if isinstance(found, Generator):
            await asyncio.to_thread(found.close)


class SchedulerConfigFactory:
    """The original's way to settings."""

    @staticmethod
    def from_yaml_file(yaml_path: str | os.PathLike[str]) -> Settings:
        """See ``Settings.from_yaml``."""
        return Settings.from_yaml(yaml_path)


class SchedulerFactory:
    """The original's way to a scheduler of one's own."""

    @staticmethod
    def from_config(config: Settings) -> MemScheduler:
        return MemScheduler(config)


__all__ = [
    "APIADDRequest",
    "ChatPlaygroundRequest",
    "SchedulerConfigFactory",
    "SchedulerFactory",
    "add_handler",
    "chat_stream_playground",
    "handle_scheduler_status",
    "handle_scheduler_wait",
    "mem_scheduler",
    "status_tracker",
]
