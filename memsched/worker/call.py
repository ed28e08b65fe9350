"""One call of a handler: the messages, the context, and how it ended."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass
from enum import StrEnum

from memsched.queue.delivery import Delivery
from memsched.worker.buffer import Cube
from memsched.worker.context import HandlerContext
from memsched.worker.handlers import Handler


class CallResult(StrEnum):
    """How a call ended."""

    DONE = "done"
    ERROR = "error"
    TIMEOUT = "timeout"
    LOST = "lost"
    SHUTDOWN = "shutdown"


@dataclass(slots=True, eq=False)
class Call:
    """A handler call, from its start until its outcome was reported and its place is free again.

    The two need not fall together: a thread cannot be stopped, so a sync handler that ran too long is reported as
    such at once, and keeps its place until it returns. Its label and its cube go on without it.
    """

    label: str
    cube: Cube
    handler: Handler
    deliveries: list[Delivery]
    timeout_seconds: float
    started: float = math.inf
    """loop.time(); infinity while it is not the handler that runs: before it, hooks and the server are waited for."""
    variables: Context | None = None
    """In which its hooks and its handler run."""
    context: HandlerContext | None = None
    task: asyncio.Task[None] | None = None
    thread: Future[object] | None = None
    result: CallResult | None = None
    cancelled_as: CallResult | None = None
    cancelled_at: float = 0.0
    error: BaseException | None = None
    reported: bool = False
    """Its outcome is known, or was given up."""
    over: bool = False
    """Its task has ended."""

    def handler_ended(self) -> None:
        """Its handler has returned, or counts for nothing any more: there is nothing to limit or accept."""
        self.started = math.inf
        if self.context is not None:
            self.context._end()

    @property
    def kept(self) -> list[Delivery]:
        """Its messages that are still ours."""
        return [delivery for delivery in self.deliveries if not delivery.lost]
