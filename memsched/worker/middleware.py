"""Middleware: hooks around each call of a handler, for what belongs to all of them (traces, an error tracker)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

from memsched.logs import exception_field, get_logger
from memsched.messages import ScheduleMessageItem

log = get_logger(__name__)

_LONGEST_SECONDS = 5.0
"""A hook that takes longer is left: it must not keep messages from being settled."""


class Middleware:
    """Hooks around a call, to be overridden; each may be ``async`` too.

    They run on the event loop, in the context (contextvars) of the call: a sync one must not wait for anything. What
    one raises is logged, and changes nothing for the message. ``message.trace_id`` is the trace it belongs to.
    """

    def before(self, messages: list[ScheduleMessageItem]) -> Any:
        """A handler is about to be called."""

    def after(self, messages: list[ScheduleMessageItem]) -> Any:
        """It returned."""

    def failed(self, messages: list[ScheduleMessageItem], error: BaseException) -> Any:
        """It raised, or ran too long; the messages run again, unless they have used up their retries."""

    def dead(self, message: ScheduleMessageItem, reason: str, error: str) -> Any:
        """A message was given up: it is in the dead letters with this reason."""


class Hooks:
    """Calls the hooks of all middleware, and lets none of them harm a message."""

    def __init__(self, middleware: Sequence[Any]) -> None:
        self._middleware = middleware
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._middleware)

    async def run(self, name: str, *args: Any) -> None:
        """The first one that was added is the outermost."""
        for one in self._middleware if name == "before" else reversed(self._middleware):
            try:
                result = getattr(one, name, _nothing)(*args)
                if inspect.isawaitable(result):
                    await asyncio.wait_for(result, _LONGEST_SECONDS)
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 -- whatever it raises
                log.error(
                    "a hook failed; the message goes on",
                    action="middleware.failed",
                    hook=f"{type(one).__name__}.{name}",
                    **exception_field(error),
                )

    def soon(self, name: str, *args: Any) -> None:
        """The same, while others go on."""
        if self._middleware:
            task = asyncio.get_running_loop().create_task(self.run(name, *args))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def _nothing(*_: Any) -> None:
    """What a middleware does whose class lacks the hook."""
