"""``pref_add``: something that the user prefers, said as such."""

from __future__ import annotations

from memsched.handlers.add import readable, tell
from memsched.handlers.admission import follow_up
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.corrections import importance, is_preference
from memsched.memory.ingest.turns import parts_of
from memsched.memory.ingest.writer import Statement, Written
from memsched.messages import MEM_UPDATE_TASK_LABEL, ScheduleMessageItem
from memsched.worker.context import HandlerContext

_LEAST_IMPORTANCE = 0.6


async def pref_add(
    services: MemoryServices, ref: CubeRef, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """``content`` is the preference. From a conversation (``chat_history``), what sounds like one is taken."""
    turns = readable(messages, ctx)
    readings: dict[str, Written] = {}
    for message in messages:
        said = turns.get(message.item_id, [])
        if message.chat_history:
            said = [turn for turn in said if turn.by_user and is_preference(turn.text)]
        statements = [
            Statement(
                key=f"preference/{turn.position}/{part}",
                text=text,
                kind="preference",
                about_user=True,
                at=turn.at,
                speaker=turn.speaker,
                sources={f"{message.item_id}#{turn.position}": turn.reference},
                importance=max(_LEAST_IMPORTANCE, importance(text, about_speaker=True)),
                tags=("preference",),
            )
            for turn in said
            for part, text in enumerate(parts_of(turn.text))
        ]
        readings[message.item_id] = await services.writer.write_statements(
            ref, message.item_id, statements, message.user_id
        )
    await tell(services, ref, messages, readings, ctx)
    last = next((message for message in reversed(messages) if message.item_id in readings), None)
    if last is not None and any(reading.added for reading in readings.values()):
        ctx.submit(follow_up(last, MEM_UPDATE_TASK_LABEL, "", {"refresh": True}))
