"""Delayed messages: due later, in a sorted set by time; appended to their stream when their time has come."""

from __future__ import annotations

import json
from typing import Any

from memsched.broker.keys import Lane
from memsched.broker.scripting import Command, as_text, script
from memsched.queue.delivery import COUNTERS, Delivery

_PROMOTE = script("promote")
MOST_AT_ONCE = 100


def delayed_member(delivery: Delivery, attempts: dict[str, int], error: str) -> str:
    """The member of the sorted set that stands for a message which waits for a retry: its task key and its fields."""
    fields = {name: value for name, value in delivery.fields.items() if name not in COUNTERS}
    fields["item_id"] = delivery.item_id
    fields["timestamp"] = delivery.timestamp
    fields |= {name: str(count) for name, count in attempts.items() if count}
    fields["last_error"] = error
    return json.dumps([delivery.task_key, *(text for pair in fields.items() for text in pair)], ensure_ascii=False)


def promote(lane: Lane) -> Command[tuple[int, float | None]]:
    """Append what is due.

    Returns how many messages those were, and the seconds until the next one is due (None: there is none).
    """

    def parse(reply: Any) -> tuple[int, float | None]:
        until = as_text(reply[1])
        return int(reply[0]), float(until) / 1000 if until else None

    return _PROMOTE.command([lane.delayed, lane.stream, lane.dead], [MOST_AT_ONCE], parse)
