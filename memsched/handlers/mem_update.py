"""``mem_update``: bring the working set up to date with the talk, and with what is new in the cube."""

from __future__ import annotations

from typing import Any

from memsched.handlers.activation_update import keep_warm
from memsched.handlers.embed_later import embed_again
from memsched.handlers.follow_ups import upkeep_after
from memsched.handlers.memory_events import event, shown, sizes_of
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.memory.model import clamped, id_within, to_ms
from memsched.messages import (
    LONG_TERM_MEMORY_TYPE,
    MAX_ID_CHARACTERS,
    WORKING_MEMORY_TYPE,
    ScheduleMessageItem,
)
from memsched.plurals import counted
from memsched.policy.talk import TalkEvent
from memsched.tiers.hot_state import HotState, mark_of
from memsched.tiers.set_changes import KINDS, set_changes
from memsched.worker.context import HandlerContext

LONGEST_TALK_CHARACTERS = 2000


async def mem_update(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """One pass for all messages. ``content`` is a question; it is always searched for."""
    await embed_again(services, cube.ref, messages, ctx)
    named = {id_within(cube.ref, message.user_id, message.item_id): message for message in messages}
    events = [
        TalkEvent(event_id=name, at=to_ms(clamped(message.timestamp)), text=text, thread=thread_of(message))
        for name, message in named.items()
        if (text := message.content.strip()[:LONGEST_TALK_CHARACTERS])
    ]
    marks = {name: mark_of(message.label, name) for name, message in named.items()}
    before, after = await services.working_sets.update(cube.ref, marks, events, cube.emptied)
    if after.upkeep:
        ctx.submit(upkeep_after(messages[-1], after.upkeep))
    await keep_warm(services, cube.ref, after, messages[-1], ctx)
    if change := described(before, after):
        sizes = await sizes_of(services, cube.ref) | {"working_memory_size": len(after.working_set)}
        ctx.log(
            event(
                messages[-1],
                change["said"],
                from_type=LONG_TERM_MEMORY_TYPE,
                to_type=WORKING_MEMORY_TYPE,
                sizes=sizes,
                metadata=change,
                capacity=services.settings.working_set_size,
            )
        )


def thread_of(message: ScheduleMessageItem) -> str:
    """The conversation that a question or an answer is part of."""
    return (message.task_id or message.session_id or "")[:MAX_ID_CHARACTERS]


def described(before: HotState, after: HotState) -> dict[str, Any]:
    """What changed in the working set and in the block, with the reasons; {} if nothing did."""
    order = [[each.memory_id for each in state.working_set] for state in (before, after)]
    changes = set_changes(before, after)
    if order[0] == order[1] and not changes:
        return {}
    texts = {each.memory_id: shown(each.said) for state in (before, after) for each in state.block}
    texts |= {each.memory_id: shown(each.said) for state in (before, after) for each in state.working_set}
    told = {
        name: [{**each, "text": texts[each["memory_id"]]} for each in changes.get(name, ())]
        for name in KINDS
        if name in changes or name in ("came_in", "went_out")
    }
    whole = counted(len(order[1]), "memory", "memories")
    came, went = len(told["came_in"]), len(told["went_out"])
    how = f", {came} came in, {went} went out" if came or went else " in another order"
    said = f"Working set: {whole}{how if order[0] != order[1] else ', as before'}"
    return {"said": said, "version": after.version, **told}
