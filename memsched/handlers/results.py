"""Results: what became of each turn of a message, for whoever waits for its task.

Kept with the task's status (``context.result``), and compact: ids and reasons, no texts. Of messages without a
``task_id`` nobody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from typing import Any

from memsched.memory.ingest.turns import Reading
from memsched.memory.ingest.writer import Written
from memsched.messages import ScheduleMessageItem
from memsched.worker.context import HandlerContext


async def tell_results(
    messages: Sequence[ScheduleMessageItem],
    readings: Mapping[str, Reading],
    requests: Set[tuple[str, int]],
    written: Mapping[str, Written],
    ctx: HandlerContext,
) -> None:
    """Tell of each message what became of it.

    Args:
        readings, written: by message id.
        requests: the turns that ask to forget something, by message id and place.
    """
    await asyncio.gather(
        *(
            ctx.result(_result(message.item_id, readings[message.item_id], requests, written), message)
            for message in messages
            if message.task_id
        )
    )


def _result(
    item_id: str, reading: Reading, requests: Set[tuple[str, int]], all_written: Mapping[str, Written]
) -> dict[str, Any]:
    """``turns``: by place, ``[outcome, memory ids, why]``; ``corrected``: ``[newer, older, why]``.

    Outcomes: ``added``, ``merged`` (into what says it already), ``put_off`` (found by its words only, until the
    embedding model gives a vector), ``passed`` (there was nothing in it), ``forgotten`` (it asked to forget), and
    ``deleted`` (it was deleted for good before).
    """
    written = all_written.get(item_id, Written())
    turns: dict[str, list[Any]] = {}
    for passed in reading.passed:
        turns[str(passed.position)] = ["passed", [], passed.why]
    for turn in reading.turns:
        outcome = "forgotten" if (item_id, turn.position) in requests else "deleted"
        turns[str(turn.position)] = [outcome, [], ""]
    later = {*written.without_vector}
    for position, (new, others) in written.by_position.items():
        outcome = "merged" if not new else "put_off" if later.intersection(new) else "added"
        turns[position] = [outcome, [*new, *others], ""]
    corrected = [[newer.memory_id, older.memory_id, older.superseded_because] for older, newer in written.corrected]
    return {"turns": turns, "corrected": corrected}
