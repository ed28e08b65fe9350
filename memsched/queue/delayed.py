"""Messages that are due later: appended to their stream when their time has come."""

from __future__ import annotations

from typing import Any

from memsched.broker.keys import Lane
from memsched.broker.scripting import Command, as_text, script

_PROMOTE = script("promote")
MOST_AT_ONCE = 100


def promote(lane: Lane) -> Command[tuple[int, float | None]]:
    """Append what is due; gives how many those were, and the seconds until the next is due (None: there is none)."""

    def parse(reply: Any) -> tuple[int, float | None]:
        until = as_text(reply[1])
        return int(reply[0]), float(until) / 1000 if until else None

    return _PROMOTE.command([lane.delayed, lane.stream, lane.dead], [MOST_AT_ONCE], parse)
