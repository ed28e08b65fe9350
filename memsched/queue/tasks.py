"""One message by its id: where it is, what is known about it, and taking it off the queue for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from memsched.broker.client import Server, answered
from memsched.broker.keys import GROUP, Keys, Lane, unescape
from memsched.broker.scripting import Command, as_text, as_texts, script
from memsched.queue.lanes import ask_every_lane, known_lanes
from memsched.queue.status import TaskStatus, task_status
from memsched.task_status import TaskState

_CANCEL = script("cancel")
_PAGE = 500
CANCELLED = "cancelled"
"""The reason in the record of a message that was cancelled: it failed, and is no dead letter."""


@dataclass(frozen=True, slots=True)
class Task:
    """A message that is known, by its record."""

    lane: Lane
    user_id: str
    item_id: str
    status: TaskStatus

    @property
    def unfinished(self) -> bool:
        return self.status.state in (TaskState.WAITING, TaskState.IN_PROGRESS)

    def as_dict(self) -> dict[str, Any]:
        """The item's id, label and status, fit for JSON: ``{"item_id", "user_id", "label", "state", ...}``."""
        about = asdict(self.status)
        return {
            "item_id": self.item_id,
            "user_id": self.user_id,
            "label": self.lane.label,
            **about,
            "state": self.status.state.value,
        }


async def find_tasks(server: Server, keys: Keys, user_id: str, item_id: str, label: str | None = None) -> list[Task]:
    """A user's messages with this item id, at most one per lane; of one label, if it is given.

    Not found is what was never submitted, what ended longer ago than MEMSCHED_TASK_TTL_SECONDS, and what a plain XADD
    brought and no worker has begun.
    """
    lanes = [
        lane
        for lane in await server.persistently(lambda: known_lanes(server, keys))
        if label is None or lane.label == label
    ]
    replies: Sequence[Any] = (
        await server.persistently(lambda: server.run([task_status(lane, user_id, item_id) for lane in lanes]))
        if lanes
        else []
    )
    found = [(lane, answered(reply)) for lane, reply in zip(lanes, replies, strict=True)]
    return [Task(lane, user_id, item_id, status) for lane, status in found if status is not None]


async def parts_of_task(server: Server, keys: Keys, user_id: str, task_id: str) -> list[Task]:
    """The messages that name this business task of a user (``task_id``), with the follow-ups they led to, in the order
    in which they were submitted.

    Known for a week after the last one was submitted, and each as long as its record (MEMSCHED_TASK_TTL_SECONDS).
    """

    def ask(lane: Lane) -> Command[list[str]]:
        return Command(("SMEMBERS", lane.parts_of(user_id, task_id)), as_texts)

    lanes, _ = await ask_every_lane(server, keys, ask)
    parts = [(lane, unescape(item)) for lane, found in lanes.items() for item in answered(found)]
    known: list[Task] = []
    for at in range(0, len(parts), _PAGE):
        page = parts[at : at + _PAGE]
        commands = [task_status(lane, user_id, item_id) for lane, item_id in page]
        replies = await server.persistently(lambda commands=commands: server.run(commands))  # type: ignore[misc]
        for (lane, item_id), reply in zip(page, replies, strict=True):
            if (status := answered(reply)) is not None:
                known.append(Task(lane, user_id, item_id, status))
    return sorted(known, key=lambda task: (task.status.submitted_ms, task.item_id))


async def cancel_task(server: Server, keys: Keys, task: Task, ttl_seconds: int) -> bool:
    """Take a message off the queue, wherever it waits or runs; whether it was still unfinished.

    The worker that runs it is told: its async handler is cancelled, and what it does counts for nothing.
    """
    lane = task.lane
    command: Command[str] = _CANCEL.command(
        [*lane.kept, lane.task(task.user_id, task.item_id), lane.oldest],
        [GROUP, ttl_seconds, server.settings.max_per_user, keys.wake, lane.name],
        as_text,
    )
    return await server.call(command) == CANCELLED
