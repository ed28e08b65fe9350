"""Round trips that callers share: who asks in the same step of the event loop is answered by one pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from itertools import islice
from typing import Any

from memsched.broker.scripting import Command
from memsched.errors import UnreachableError

_MOST_COMMANDS = 256
"""Of one pipeline: nobody shall wait for the answers of too many others."""


class SharedTrips:
    """Sends what several callers ask for together: many small requests pay for few sends and few wake-ups.

    Each caller has the replies to their own commands, and understands them by themselves: what one cannot understand is
    no other's failure. Only that there was no answer is told to all.

    Args:
        run: sends commands in one round trip, and returns their replies, in order.
    """

    def __init__(self, run: Callable[[Sequence[Command[Any]]], Awaitable[list[Any]]]) -> None:
        self._run = run
        self._next: _Trip | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """The replies to these commands, parsed; for one that the server refused, the exception."""
        loop = asyncio.get_running_loop()
        trip = self._next
        if trip is None or trip.count + len(commands) > _MOST_COMMANDS:
            trip = self._next = _Trip()
            # It begins at the next step: whoever asks until then comes along. It is of several, so in nobody's context.
            going = loop.create_task(self._go(trip), name="memsched-shared-trip", context=Context())
            self._under_way.add(going)
            going.add_done_callback(partial(self._ended, trip))
        replies = await trip.joined(commands, loop.create_future())
        return [
            reply if isinstance(reply, Exception) else command.parse(reply)
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _go(self, trip: _Trip) -> None:
        if self._next is trip:
            self._next = None
        try:
            trip.arrived(await self._run(trip.commands()))
        except Exception as error:  # noqa: BLE001 -- it is raised where it is waited for
            trip.failed(error)

    def _ended(self, trip: _Trip, going: asyncio.Task[None]) -> None:
        self._under_way.discard(going)
        if self._next is trip:
            self._next = None
        if going.cancelled():
            trip.failed(UnreachableError("the round trip was cancelled"))


class _Trip:
    """What is asked together.

    Attributes:
        count: of the commands.
    """

    def __init__(self) -> None:
        self.count = 0
        self._asked: list[tuple[Sequence[Command[Any]], asyncio.Future[list[Any]]]] = []

    def joined(self, commands: Sequence[Command[Any]], answer: asyncio.Future[list[Any]]) -> asyncio.Future[list[Any]]:
        """What will hold the raw replies to these commands."""
        self._asked.append((commands, answer))
        self.count += len(commands)
        return answer

    def commands(self) -> list[Command[Any]]:
        """All of them, their replies to be left as they are."""
        return [Command(each.args, _as_it_is, each.script) for commands, _ in self._asked for each in commands]

    def arrived(self, replies: Sequence[Any]) -> None:
        if len(replies) != self.count:
            raise AssertionError(f"{self.count} commands have {len(replies)} replies")
        left = iter(replies)
        for commands, answer in self._asked:
            theirs = list(islice(left, len(commands)))
            if not answer.done():  # whoever asked may have gone
                answer.set_result(theirs)

    def failed(self, error: Exception) -> None:
        for _, answer in self._asked:
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # whoever asked may go before they look: then nobody misses it


def _as_it_is(reply: Any) -> Any:
    return reply
