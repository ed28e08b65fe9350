"""Delayed messages: due later, in a sorted set by time; appended to their stream when their time has come."""

from __future__ import annotations

import json
from typing import Any

from memsched.broker.keys import GROUP, Lane
from memsched.broker.scripting import Command, as_text, script
from memsched.queue.delivery import COUNTERS, Delivery

_PROMOTE = script("promote")
_MOST_AT_ONCE = 50
_BYTES_AT_ONCE = 256 * 1024
"""What one call moves, at most: it holds up the server for everyone. (One message more, whatever its size.)"""
_MEND_EVERY_MS = 5000


def delayed_member(delivery: Delivery, attempts: dict[str, int], error: str) -> str:
    """The member of the sorted set that stands for a message which waits for a retry: its task key and its fields."""
    fields = {name: value for name, value in delivery.fields.items() if name not in COUNTERS}
    fields["item_id"] = delivery.item_id
    fields["timestamp"] = delivery.timestamp
    fields |= {name: str(count) for name, count in attempts.items() if count}
    fields["last_error"] = error
    return json.dumps([delivery.task_key, *(text for pair in fields.items() for text in pair)], ensure_ascii=False)


def promote(lane: Lane, max_per_user: int) -> Command[float | None]:
    """Move what is due to the stream, and what is parked where it has room.

    Returns the seconds until the next look is due (0.0: there is more to do at once; None: nothing waits).
    """

    def parse(reply: Any) -> float | None:
        until = as_text(reply[1])
        return float(until) / 1000 if until else None

    return _PROMOTE.command(lane.kept, [GROUP, max_per_user, _MOST_AT_ONCE, _BYTES_AT_ONCE, _MEND_EVERY_MS], parse)
