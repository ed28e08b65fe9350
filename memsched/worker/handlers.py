"""Which handler runs which label, and under which rules."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from memsched.durations import LONGEST_DAYS, seconds_or_none
from memsched.errors import HandlerNotLoaded, InvalidArgument
from memsched.messages import MAX_LABEL_CHARACTERS
from memsched.settings import Settings
from memsched.task_status import TaskPriorityLevel
from memsched.worker.calling import Calling, calling_of

HandlerFunction = Callable[..., Awaitable[Any] | Any]
"""``handle(messages)`` or ``handle(messages, ctx)``; sync (runs in a thread) or async."""


@dataclass(frozen=True)
class Handler:
    """A handler with its rules; what is None comes from the settings.

    Args:
        function: ``handle(messages)`` or ``handle(messages, ctx)``; sync (runs in a thread) or async.
        priority: which label goes first while several have messages waiting.
        min_idle_ms: the visibility timeout: after how long a silence of its worker a message goes to another.
        timeout_seconds: after which a call is cancelled; 0 is no limit.
        concurrency: calls at once in one process.
        batch_size: messages of one cube in one call, at most.
        ordered: in one process, one call of a cube at a time, its messages in order.
    """

    function: HandlerFunction
    priority: TaskPriorityLevel = TaskPriorityLevel.LEVEL_2
    min_idle_ms: int | None = None
    timeout_seconds: float | None = None
    concurrency: int | None = None
    batch_size: int = 1
    ordered: bool = False

    @cached_property
    def calling(self) -> Calling:
        """How it is called. Raises ValueError if it can be no handler."""
        return calling_of(self.function)


HandlerEntry: TypeAlias = HandlerFunction | tuple[HandlerFunction, TaskPriorityLevel, int] | Handler


class Orchestrator:
    """The handlers of one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.handlers: dict[str, Handler] = {}
        self.tasks_priorities: dict[str, TaskPriorityLevel] = {}
        self.tasks_min_idle_ms: MutableMapping[str, int] = _MinIdles()
        self.middleware: list[Any] = []
        """Hooks around each call (see memsched.Middleware); the first one is the outermost."""

    def register(self, handlers: Mapping[str, HandlerEntry]) -> None:
        """Add handlers by label; the last one registered for a label is the one that runs.

        Raises HandlerNotLoaded; then none of them was added.
        """
        self.handlers.update({label: _checked(label, entry) for label, entry in handlers.items()})

    def ordered(self, label: str) -> bool:
        """Whether the messages of a cube run in order in this process."""
        return self.handlers[label].ordered

    def priority(self, label: str) -> TaskPriorityLevel:
        return self.tasks_priorities.get(label, self.handlers[label].priority)

    def min_idle_ms(self, label: str) -> int:
        """How long a message's worker may be silent before another claims it."""
        own = self.handlers[label].min_idle_ms
        return self.tasks_min_idle_ms.get(label, self._settings.min_idle_ms if own is None else own)

    def timeout_seconds(self, label: str) -> float:
        own = self.handlers[label].timeout_seconds
        return self._settings.handler_timeout_seconds if own is None else own

    def concurrency(self, label: str) -> int:
        own = self.handlers[label].concurrency
        return own or self._settings.label_concurrency or self._settings.concurrency


def _checked(label: str, entry: HandlerEntry) -> Handler:
    """The handler with its rules, each of which can be kept. Raises HandlerNotLoaded."""
    if not isinstance(label, str) or not 1 <= len(label) <= MAX_LABEL_CHARACTERS:
        raise HandlerNotLoaded(f"A label must be a text of 1 to {MAX_LABEL_CHARACTERS} characters, not {label!r:.80}.")
    if isinstance(entry, Handler):
        handler = entry
    elif isinstance(entry, tuple):
        if len(entry) != 3:
            raise HandlerNotLoaded(f"{label}: expected (handle, priority, min_idle_ms), got {entry!r}.")
        handler = Handler(*entry)
    else:
        handler = Handler(entry)
    try:
        calling_of(handler.function)
    except ValueError as error:
        raise HandlerNotLoaded(f"{label}: {handler.function!r:.200} {error}.") from error
    try:
        return replace(
            handler,
            priority=_priority(handler.priority),
            min_idle_ms=_min_idle_ms(handler.min_idle_ms),
            timeout_seconds=seconds_or_none("timeout_seconds", handler.timeout_seconds),
            concurrency=_whole("concurrency", handler.concurrency, 1, 10_000),
            batch_size=_whole("batch_size", handler.batch_size, 1, 1000) or 1,
        )
    except InvalidArgument as error:
        raise HandlerNotLoaded(f"{label}: {error}") from error


def _priority(given: Any) -> TaskPriorityLevel:
    try:
        if not isinstance(given, bool):
            return TaskPriorityLevel(given)
    except ValueError:
        pass
    levels = ", ".join(f"TaskPriorityLevel.{level.name}" for level in TaskPriorityLevel)
    raise InvalidArgument("priority", given, f"expected one of {levels}")


def _whole(name: str, given: Any, least: int, most: int) -> int | None:
    """A whole number within the bounds of the setting of that name, or None: the settings say it."""
    number = int(given) if isinstance(given, float) and given.is_integer() else given
    if number is None or (isinstance(number, int) and not isinstance(number, bool) and least <= number <= most):
        return number
    raise InvalidArgument(name, given, f"expected a whole number from {least:,} to {most:,}, or None")


def _min_idle_ms(given: Any) -> int | None:
    return _whole("min_idle_ms", given, 100, LONGEST_DAYS * 86_400_000)


class _MinIdles(UserDict[str, int]):
    """Min idles by label. Raises InvalidArgument for one that would take messages from workers that live."""

    def __setitem__(self, label: str, given: int) -> None:
        number = _min_idle_ms(given)
        if number is None:
            raise InvalidArgument("min_idle_ms", given, "to have the setting's again, delete the label from here")
        super().__setitem__(label, number)
