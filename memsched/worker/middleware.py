"""Middleware: hooks around each call of a handler, for what belongs to all of them (traces, an error tracker)."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Sequence
from typing import Any

from memsched.logs import exception_field, get_logger
from memsched.messages import ScheduleMessageItem
from memsched.worker.forks import ForkGuard

log = get_logger(__name__)

_LONGEST_SECONDS = 5.0
"""A hook that takes longer is left: it must not keep messages from being settled."""


class Middleware:
    """Hooks around a call, to be overridden; each may be ``async`` too.

    They run on the event loop, in the context (contextvars) of the call: a sync one must not wait for anything. What
    one raises is logged, and changes nothing for the message; nor does what it does to its messages, which are copies.
    ``message.trace_id`` is the trace it belongs to.
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
        self._tasks: set[asyncio.Task[Any]] = set()

    def __bool__(self) -> bool:
        return bool(self._middleware)

    async def run(self, name: str, *args: Any, context: contextvars.Context | None = None) -> None:
        """The first one that was added is the outermost.

        Args:
            context: where they set their variables; default: in a copy of this one.
        """
        loop = asyncio.get_running_loop()
        for one in self._middleware if name == "before" else reversed(self._middleware):
            # A task of its own: whatever a hook does to the task that it runs in, the call goes on.
            task = asyncio.Task(_error_of(one, name, args), loop=loop, context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                await asyncio.wait([task], timeout=_LONGEST_SECONDS)
            finally:
                left = task.cancel()  # and not waited for: it may not end by that
            if left:
                error: BaseException | None = TimeoutError("it took too long, and is left")
            else:
                error = asyncio.CancelledError("it cancelled itself") if task.cancelled() else task.result()
            if error is not None:
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


async def _error_of(middleware: Any, name: str, args: tuple[Any, ...]) -> BaseException | None:
    """Call a hook; returns what it raised."""
    try:
        with ForkGuard():
            result = getattr(middleware, name, _nothing)(*map(_copied, args))
            if inspect.isawaitable(result):
                await result
    except BaseException as error:  # noqa: BLE001 -- whatever it raises
        return error
    return None


def _copied(arg: Any) -> Any:
    """What a hook does to messages, and to their list, neither the handler sees nor the next hook."""
    if isinstance(arg, list):
        return [one.model_copy() for one in arg]
    return arg.model_copy() if isinstance(arg, ScheduleMessageItem) else arg


def _nothing(*_: Any) -> None:
    """What a middleware does whose class lacks the hook."""
