"""The tasks that a MOS submitted: waiting for one of them, and for what follows from it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from memsched.backoff import poll_pauses
from memsched.deadline import Deadline
from memsched.durations import Seconds, seconds_or_none
from memsched.errors import MemschedError
from memsched.handlers.follow_ups import follow_up
from memsched.messages import MEM_READ_TASK_LABEL, MEM_UPDATE_TASK_LABEL, ScheduleMessageItem
from memsched.scheduler import AsyncMemScheduler
from memsched.task_status import SubmitResult, TaskState
from memsched.waiting import Waiting

_KNOWN = 10_000
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.25


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

    async def submit(self, message: ScheduleMessageItem, *beside: ScheduleMessageItem) -> list[SubmitResult]:
        """Submit it, and others together with it that nobody waits for."""
        results = await self._scheduler.submit_messages([message, *beside])
        self._known[message.item_id] = message.model_copy(update={"content": "", "chat_history": None, "info": None})
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return results

    async def wait(self, task_id: str, timeout: Seconds | None = None) -> None:
        """Until the task and its follow-ups are done. Raises WaitTimeout, TaskFailed, UnknownTask."""
        message = self._known.get(task_id)
        if message is None:
            raise UnknownTask(task_id)
        await self.follow(message, timeout)

    async def follow(self, message: ScheduleMessageItem, timeout: Seconds | None = None) -> None:
        """The same for a message that was submitted anywhere; one that is not known any more is done.

        Args:
            message: of it only user, cube, label and item id count.
        """
        deadline = Deadline(seconds_or_none("timeout", timeout))
        waiting = Waiting(self._scheduler, deadline.seconds)
        await self._done(message, deadline, waiting)
        reading = follow_up(message, MEM_READ_TASK_LABEL, "")
        if await self._done(reading, deadline, waiting):
            await self._done(follow_up(reading, MEM_UPDATE_TASK_LABEL, ""), deadline, waiting)
        if not await self._done(follow_up(message, MEM_UPDATE_TASK_LABEL, ""), deadline, waiting):
            # It was handled together with other messages of the cube, and one of those led on for all of them.
            left = None if timeout is None else deadline.left
            await self._scheduler.wait(user_id=message.user_id, timeout=left)

    async def _done(self, message: ScheduleMessageItem, deadline: Deadline, waiting: Waiting) -> bool:
        """Wait for one message; False if there is none of its id."""
        pauses = poll_pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            status = await self._scheduler.get_task_status(message)
            if status is None or status.state is TaskState.COMPLETED:
                return status is not None
            if status.state is TaskState.FAILED:
                raise TaskFailed(message.item_id, status.error)
            pause = next(pauses)
            if pause > deadline.left:
                raise await waiting.timed_out(1)
            await waiting.look()
            await asyncio.sleep(pause)
