"""Clearing: unfinished messages are dropped for good, because an operator says so."""

from __future__ import annotations

from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import GROUP, Keys, Lane
from memsched.broker.scripting import Command, as_texts, script
from memsched.messages import id_of_entry
from memsched.queue.lanes import known_lanes

_CLEAR = script("clear")
_MOST_AT_ONCE = 50
_BYTES_AT_ONCE = 256 * 1024


async def clear(server: Server, keys: Keys, label: str | None = None) -> int:
    """Drop all unfinished messages of a label, or of all labels; returns how many. Dead letters stay.

    Of a label that is named, also in lanes that nobody made known: what a foreign producer put there.
    """
    lanes = await server.persistently(lambda: known_lanes(server, keys))
    if label is not None:
        lanes = list(dict.fromkeys([*(lane for lane in lanes if lane.label == label), *keys.lanes_of(label)]))
    return sum([await _clear_lane(server, lane) for lane in lanes])


async def _clear_lane(server: Server, lane: Lane) -> int:
    def parse(reply: Any) -> tuple[int, bool, list[str]]:
        return int(reply[0]), bool(reply[1]), as_texts(reply[2])

    keys = [*lane.kept, lane.outbox, lane.task_prefix, lane.oldest]
    command = _CLEAR.command(keys, [GROUP, _MOST_AT_ONCE, _BYTES_AT_ONCE], parse)
    dropped, more = 0, True
    while more:
        count, more, nameless = await server.persistently(lambda: server.call(command))
        dropped += count
        if nameless:  # their status is known by an id that is derived from the entry's
            pairs = zip(nameless[::2], nameless[1::2], strict=True)
            records = [lane.task(user_id, id_of_entry(lane.name, entry_id)) for entry_id, user_id in pairs]
            await server.run([Command(("DEL", record), int) for record in records])
    return dropped
