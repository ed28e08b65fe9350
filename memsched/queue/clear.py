"""Clearing: unfinished messages are dropped for good, because an operator says so."""

from __future__ import annotations

from memsched.broker.client import Server
from memsched.broker.keys import GROUP, Keys, Lane
from memsched.broker.scripting import as_int, as_text, script
from memsched.messages import id_of_entry
from memsched.queue.lanes import known_lanes

_CLEAR = script("clear")
_PAGE = 500


async def clear(server: Server, keys: Keys, label: str | None = None) -> int:
    """Drop all unfinished messages of a label, or of all labels; returns how many. Dead letters stay."""
    lanes = await server.persistently(lambda: known_lanes(server, keys))
    return sum([await _clear_lane(server, lane) for lane in lanes if label is None or lane.label == label])


async def _clear_lane(server: Server, lane: Lane) -> int:
    dropped = 0
    edge = "-"
    while True:
        page = await server.execute("XRANGE", lane.stream, edge, "+", "COUNT", _PAGE) or []
        ids, tasks = [], []
        for entry_id, fields in page:
            ids.append(as_text(entry_id))
            texts = [part.decode("utf-8", "replace") for part in fields]
            named = dict(zip(texts[::2], texts[1::2], strict=False))
            tasks.append(lane.task(named.get("item_id") or id_of_entry(lane.name, ids[-1])))
        last = len(page) < _PAGE
        keys = [lane.stream, lane.delayed, lane.users, lane.outbox, *tasks]
        dropped += await server.call(_CLEAR.command(keys, [GROUP, "last" if last else "page", *ids], as_int))
        if last:
            return dropped
        edge = f"({ids[-1]}"
