"""The queue of a scheduler as an object of its own, as scripts for the original system use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memsched.durations import Seconds
from memsched.messages import Messages
from memsched.task_status import SubmitResult

if TYPE_CHECKING:
    from memsched.scheduler import AsyncMemScheduler
    from memsched.sync_scheduler import MemScheduler


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
