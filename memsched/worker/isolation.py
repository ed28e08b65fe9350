"""Isolation of suspected poison messages: the one that kills its worker is found out, and no other is blamed for it.

After the death of a worker each message that it held is a suspect, for it could have been any of them. Suspects run
in calls of their own and start one at a time, each on probation: for a moment nothing else starts beside it, and
nothing has just started, for what kills a process mostly does so at once. The account of the crashes is kept at the
server (memsched/queue/crash_account.py).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable

from memsched.queue.delivery import Delivery
from memsched.worker.call import Call

_PROBATION_SECONDS = 0.2
"""How long a suspect runs before anything else may start. What kills its process mostly does so at once."""
_PRECEDENCE_SECONDS = 0.05
"""How much sooner than others a suspect may start that waited for what had just started."""


class Isolation:
    """Says which messages may start beside what runs in this worker.

    Args:
        calls: returns the calls that have a place now.
        look_again: called when what was not admitted may be admitted now.
    """

    def __init__(self, calls: Callable[[], Iterable[Call]], look_again: Callable[[], None]) -> None:
        self._calls = calls
        self._look_again = look_again
        self._suspects: dict[Delivery, Call] = {}
        self._on_probation: Call | None = None
        self._newcomers_at = 0.0
        """loop.time() from which messages without a past may start: a suspect waits for its turn."""

    def admits(self, delivery: Delivery) -> bool:
        """Whether a message may start now.

        Nothing may have started just before a suspect: otherwise it could be blamed for the deed of a killer that
        nobody suspects yet.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not delivery.suspect:
            return self._on_probation is None and now >= self._newcomers_at
        if self._on_probation is not None or (delivery.needs_isolation and self._suspects):
            return False
        at = max((call.started for call in self._calls()), default=-math.inf) + _PROBATION_SECONDS
        if now >= at:
            return True
        self._newcomers_at = at + _PRECEDENCE_SECONDS
        for moment in (at, self._newcomers_at):
            loop.call_at(moment, self._look_again)
        return False

    def started(self, call: Call) -> None:
        """A call was admitted and has its place. A suspect's probation begins."""
        delivery = call.deliveries[0]
        if delivery.suspect:
            call.alone = not self._suspects
            self._suspects[delivery] = call
            self._on_probation = call

    @property
    def gives_precedence(self) -> bool:
        """Whether a suspect waits for its turn, before which nothing new may start."""
        return self._newcomers_at > asyncio.get_running_loop().time()

    @property
    def probation(self) -> tuple[Call, float] | None:
        """The call that is on probation, and the loop.time() at which others may start beside it."""
        call = self._on_probation
        return None if call is None or call.over else (call, call.started + _PROBATION_SECONDS)

    def end_probation(self, call: Call) -> None:
        """The server knows that it is not alone any more."""
        if self._on_probation is call:
            self._on_probation = None
            self._look_again()

    def finished(self, delivery: Delivery) -> None:
        """The server knows a message's outcome: it is no suspect any more.

        Not sooner: until then, a death of this worker would be put down to it.
        """
        if delivery in self._suspects:
            if self._on_probation is self._suspects.pop(delivery):
                self._on_probation = None
            self._look_again()
