"""The tasks that a MOS submitted: waiting for one of them, and for what follows from it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from memsched.errors import MemschedError, WaitTimeout
from memsched.messages import MEM_READ_TASK_LABEL, MEM_UPDATE_TASK_LABEL, ScheduleMessageItem
from memsched.task_status import TaskState

if TYPE_CHECKING:
    from memsched.scheduler import AsyncMemScheduler

_KNOWN = 10_000
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.25


class UnknownTask(MemschedError):
    """This task was not submitted here, or long ago."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task_id={task_id!r}: wait(user_id=...) waits for everything of a user.")


class TaskFailed(MemschedError):
    """The task was given up; it is a dead letter now."""

    def __init__(self, task_id: str, error: str) -> None:
        self.error = error
        super().__init__(f"task_id={task_id!r}: {error}")


class Tasks:
    """What was submitted lately, without its content. A task's id is its message's."""

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self._scheduler = scheduler
        self._known: OrderedDict[str, ScheduleMessageItem] = OrderedDict()

    async def submit(self, message: ScheduleMessageItem) -> None:
        await self._scheduler.submit_messages(message)
        self._known[message.item_id] = message.model_copy(update={"content": "", "chat_history": None, "info": None})
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    async def wait(self, task_id: str, timeout: float | None = None) -> None:
        """Until the task and its follow-ups are done. Raises WaitTimeout, TaskFailed, UnknownTask."""
        message = self._known.get(task_id)
        if message is None:
            raise UnknownTask(task_id)
        from memsched.handlers.admission import follow_up

        waiting = _Deadline(timeout)
        await self._done(message, waiting)
        reading = follow_up(message, MEM_READ_TASK_LABEL, "")
        if await self._done(reading, waiting):
            await self._done(follow_up(reading, MEM_UPDATE_TASK_LABEL, ""), waiting)
        if not await self._done(follow_up(message, MEM_UPDATE_TASK_LABEL, ""), waiting):
            # It was handled together with other messages of the cube, and one of those led on for all of them.
            await self._scheduler.wait(user_id=message.user_id, timeout=waiting.left)

    async def _done(self, message: ScheduleMessageItem, waiting: _Deadline) -> bool:
        """Wait for one message; False if there is none of its id."""
        pause = _PAUSE_SECONDS
        while True:
            status = await self._scheduler.get_task_status(message)
            if status is None or status.state is TaskState.COMPLETED:
                return status is not None
            if status.state is TaskState.FAILED:
                raise TaskFailed(message.item_id, status.error)
            waiting.check(pause)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 1.3)


class _Deadline:
    """One time limit for several waits."""

    def __init__(self, timeout: float | None) -> None:
        self._clock = asyncio.get_running_loop().time
        self._timeout = timeout
        self._end = None if timeout is None else self._clock() + timeout

    @property
    def left(self) -> float | None:
        return None if self._end is None else max(0.0, self._end - self._clock())

    def check(self, pause: float) -> None:
        """Raises WaitTimeout if the pause would last longer than there is time."""
        if (left := self.left) is not None and left < pause:
            raise WaitTimeout(1, self._timeout or 0.0)
