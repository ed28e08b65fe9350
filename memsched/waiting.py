"""What is told to whoever waits for messages that nobody handles."""

from __future__ import annotations

import time
from typing import Protocol

from memsched.config_file import suggestion
from memsched.errors import WaitTimeout
from memsched.logs import get_logger
from memsched.queue.status import Status

log = get_logger(__name__)

_AFTER_SECONDS = 3.0
"""A worker that is being started has beaten by then."""
_NO_WORKER = "No worker is running: start one (memsched worker), or handlers in this process (start())."


class Queue(Protocol):
    """What is waited for."""

    async def read_status(self) -> Status: ...


class Waiting:
    """One wait: tells once, after some seconds, that nobody is there to handle what is unfinished, and says so where
    the time is up.

    Args:
        seconds: how long it may take; None: for ever.
    """

    def __init__(self, queue: Queue, seconds: float | None) -> None:
        self._queue = queue
        self._seconds = seconds
        self._look_at = time.monotonic() + _AFTER_SECONDS

    async def look(self) -> None:
        """To be called while it is waited, as often as one likes."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = float("inf")
        if advice := await self.advice():
            log.warning(
                "waiting for messages that nobody handles",
                action="wait.no_worker",
                advice=advice,
                timeout=self._seconds,
            )

    async def timed_out(self, unfinished: int) -> WaitTimeout:
        """The error of a wait whose time is up."""
        return WaitTimeout(unfinished, self._seconds or 0.0, advice=await self.advice())

    async def advice(self) -> str:
        """Why some of what is unfinished does not go on, and what to do; "" where nothing is known of it."""
        return advice_for(await self._queue.read_status())


def advice_for(status: Status) -> str:
    """See ``Waiting.advice``."""
    if not any(worker.alive for worker in status.workers):
        return _NO_WORKER
    waiting = [label for label, counts in status.labels.items() if counts.backlog]
    told = [f"The label {label!r} is paused (memsched resume {label})." for label in waiting if label in status.paused]
    return " ".join([*told, *no_handler_for(status).values()])


def no_handler_for(status: Status) -> dict[str, str]:
    """Labels that have messages and that no live worker has a handler for, with a sentence; {} where none lives."""
    living = [worker.about.get("labels", "") for worker in status.workers if worker.alive]
    if not living or not all(living):  # one of them has not told its labels yet
        return {}
    handled = f",{','.join(living)},"  # a label may have commas in it
    told = {}
    for label, counts in status.labels.items():
        runs = counts.running > 0  # one that was registered since its worker's last heartbeat
        if counts.backlog and not runs and f",{label}," not in handled and label not in status.paused:
            meant = suggestion(label, set(",".join(living).split(",")))
            told[label] = f"No worker has a handler for the label {label!r}{meant or '.'}"
    return told
