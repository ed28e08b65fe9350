"""What is told to whoever waits for messages that nobody handles."""

from __future__ import annotations

import time
from typing import Protocol

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
    return " ".join([*told, *status.no_handler.values()])
