"""``mem_archive``: decide which themes are activated, what is archived, and what comes back from the archive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from memsched.handlers.follow_ups import MOST_NAMED, follow_up
from memsched.handlers.memory_events import shown
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import id_within, to_ms
from memsched.messages import MEM_ARCHIVE_TASK_LABEL, ScheduleMessageItem
from memsched.moving import count_move, event_of_move
from memsched.tiers.hot_state import mark_of
from memsched.worker.context import HandlerContext


async def mem_archive(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """One decision for all messages, as things are now. ``info.needed`` names archived memories, and when each was."""
    named = {id_within(cube.ref, message.user_id, message.item_id): message for message in messages}
    marks = {name: mark_of(message.label, name) for name, message in named.items()}
    needed = await _needed(services, cube.ref, messages)
    rounds = max(_rounds(message) for message in messages)
    moves, more = await services.placements.decide(cube.ref, marks, needed, rounds)
    memories = await services.store.get(cube.ref, [each.subject_id for each in moves if each.subject == "memory"])
    last = messages[-1]
    for move in moves:
        said = shown(memories[move.subject_id].indexed_text) if move.subject_id in memories else ""
        count_move(move)
        ctx.log(event_of_move(move, last.user_id, last.mem_cube_id, last.label, said))
    if more:
        info: dict[str, Any] = {"rounds": rounds + 1}
        ctx.submit(follow_up(last, MEM_ARCHIVE_TASK_LABEL, "", {**info, "needed": needed} if needed else info))


async def _needed(services: MemoryServices, ref: CubeRef, messages: Sequence[ScheduleMessageItem]) -> dict[str, int]:
    """What the messages say was needed, as far as the cube has it; nothing was needed later than now.

    Whoever may write can send such a message, with anything in it.
    """
    now = to_ms(datetime.now(UTC))
    needed: dict[str, int] = {}
    for message in messages:
        given = (message.info or {}).get("needed")
        for memory_id, at in list(given.items())[:MOST_NAMED] if isinstance(given, dict) else ():
            if isinstance(at, int) and at > 0:
                needed[memory_id] = max(min(at, now), needed.get(memory_id, 0))
    there = await services.store.get(ref, list(needed))
    return {memory_id: at for memory_id, at in needed.items() if memory_id in there}


def _rounds(message: ScheduleMessageItem) -> int:
    """How many decisions a message goes on from."""
    given = (message.info or {}).get("rounds")
    return given if isinstance(given, int) and given > 0 else 0
