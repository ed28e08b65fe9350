"""``add``: what was said is remembered as it was said, at once and without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memsched.errors import InvalidMessage
from memsched.handlers.admission import USER_INPUT, event, follow_up, shown, shown_memories, sizes_of
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turns import Turn, turns_of
from memsched.memory.ingest.writer import Written
from memsched.memory.model import Memory, to_ms
from memsched.messages import (
    LONG_TERM_MEMORY_TYPE,
    MEM_READ_TASK_LABEL,
    MEM_UPDATE_TASK_LABEL,
    USER_MEMORY_TYPE,
    ScheduleMessageItem,
)
from memsched.worker.context import HandlerContext


async def add(services: MemoryServices, ref: CubeRef, messages: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    """Stores the utterances; ``mem_read`` follows where a model is there to take facts from them."""
    turns = readable(messages, ctx)
    await keep(services, ref, messages, turns, ctx)
    if services.llm is not None:
        for message in messages:
            if turns.get(message.item_id):
                info = {**(message.info or {}), "read_for": message.item_id}
                ctx.submit(
                    follow_up(message, MEM_READ_TASK_LABEL, message.content, info, chat_history=message.chat_history)
                )


def readable(messages: list[ScheduleMessageItem], ctx: HandlerContext) -> dict[str, list[Turn]]:
    """The utterances by message id. A message whose utterances cannot be read is given up; its neighbours are not."""
    turns: dict[str, list[Turn]] = {}
    for message in messages:
        try:
            turns[message.item_id] = turns_of(message)
        except InvalidMessage as error:
            ctx.fail(message, error)
    return turns


async def keep(
    services: MemoryServices,
    ref: CubeRef,
    messages: list[ScheduleMessageItem],
    turns: Mapping[str, list[Turn]],
    ctx: HandlerContext,
) -> dict[str, Written]:
    """Store utterances, tell what became of them, and have the working set look at them."""
    by = messages[0].user_id
    written = await services.writer.write_turns(ref, {key: said for key, said in turns.items() if said}, by)
    await tell(services, ref, messages, written, ctx)
    ctx.submit(_updates(services, messages, turns))
    return written


def _updates(
    services: MemoryServices, messages: Sequence[ScheduleMessageItem], turns: Mapping[str, list[Turn]]
) -> list[ScheduleMessageItem]:
    """The follow-ups of all messages that may still be part of the recent talk.

    What that is must not depend on which messages happened to come together: it is for mem_update to say.
    """
    steps = [
        follow_up(message, MEM_UPDATE_TASK_LABEL, _talk(said), {"refresh": True})
        for message in messages
        if (said := turns.get(message.item_id))
    ]
    steps.sort(key=lambda step: (to_ms(step.timestamp), step.item_id), reverse=True)
    latest: dict[str, ScheduleMessageItem] = {}
    for step in steps:
        latest.setdefault(step.content, step)
    return list(latest.values())[: services.settings.query_window][::-1]


def _talk(said: list[Turn]) -> str:
    """What the talk is about now: what the user said last, or else whoever did."""
    return next((turn.text for turn in reversed(said) if turn.by_user), said[-1].text)


async def tell(
    services: MemoryServices,
    ref: CubeRef,
    messages: list[ScheduleMessageItem],
    written: Mapping[str, Written],
    ctx: HandlerContext,
) -> None:
    """One event for each message and kind of thing that became of it."""
    if not any(outcome.added or outcome.repeated or outcome.corrected for outcome in written.values()):
        return
    sizes = await sizes_of(services, ref)
    for message in messages:
        outcome = written.get(message.item_id)
        if outcome is None:
            continue
        for memory_type in (LONG_TERM_MEMORY_TYPE, USER_MEMORY_TYPE):
            if added := [memory for memory in outcome.added if memory.memory_type == memory_type]:
                said = f"Remembered {_counted(added)}: {shown(added[0].indexed_text)}"
                ctx.log(
                    event(
                        message,
                        said,
                        from_type=USER_INPUT,
                        to_type=memory_type,
                        sizes=sizes,
                        metadata=shown_memories(added),
                    )
                )
        for text, same in outcome.repeated:
            ctx.log(
                event(
                    message,
                    f"Said before, kept once: {shown(text)}",
                    from_type=USER_INPUT,
                    to_type=same.memory_type,
                    sizes=sizes,
                    metadata={"memory_id": same.memory_id, "text": shown(same.indexed_text)},
                )
            )
        for older, newer in outcome.corrected:
            ctx.log(
                event(
                    message,
                    f"Corrected: {shown(older.text)} is now: {shown(newer.text)}",
                    from_type=older.memory_type,
                    to_type=newer.memory_type,
                    sizes=sizes,
                    metadata={"replaced": older.memory_id, "by": newer.memory_id},
                )
            )


def _counted(memories: list[Memory]) -> str:
    return "1 memory" if len(memories) == 1 else f"{len(memories)} memories"
