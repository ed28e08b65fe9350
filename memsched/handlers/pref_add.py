"""``pref_add``: something that the user prefers, said as such."""

from __future__ import annotations

from memsched.handlers.add import readings_of
from memsched.handlers.follow_ups import update_after
from memsched.handlers.forget import forget_as_asked, forget_as_asked_before, requests_among
from memsched.handlers.memory_events import log_written
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.memory.ingest.importance import importance
from memsched.memory.ingest.preferences import is_preference
from memsched.memory.ingest.writer import Statement, Written
from memsched.memory.model import id_within
from memsched.messages import ScheduleMessageItem
from memsched.worker.context import HandlerContext

_LEAST_IMPORTANCE = 0.6


async def pref_add(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """``content`` is the preference. From a conversation (``chat_history``), what sounds like one is taken.

    A request to forget something is followed, as by ``add``.
    """
    readings = await readings_of(services, cube.ref, messages, ctx)
    everything = {key: reading.turns for key, reading in readings.items()}
    requests, turns = await requests_among(services, cube.ref, messages, everything)
    written: dict[str, Written] = {}
    for message in messages:
        said = turns.get(message.item_id, [])
        name = id_within(cube.ref, message.user_id, message.item_id)
        if message.chat_history:
            said = [turn for turn in said if turn.by_user and is_preference(turn.text)]
        statements = [
            Statement(
                key=f"preference/{turn.position}/{part}",
                text=text,
                kind="preference",
                about_user=True,
                at=turn.at,
                ingested_at=turn.ingested_at,
                speaker=turn.speaker,
                by_user=turn.by_user,
                sources={f"{name}#{turn.position}": turn.reference},
                trigrams=turn.trigrams,
                importance=max(_LEAST_IMPORTANCE, importance(text, about_speaker=True)),
                tags=("preference",),
                given_tags=turn.tags,
                metadata=turn.metadata,
            )
            for turn in said
            for part, text in enumerate(filter(str.strip, services.writer.parts_of(turn)))
        ]
        written[message.item_id] = await services.writer.write_statements(
            cube.ref, message.item_id, statements, message.user_id, emptied=cube.emptied
        )
    await log_written(services, cube.ref, messages, written, ctx)
    await forget_as_asked_before(services, cube.ref, messages, written, ctx)
    await forget_as_asked(services, cube.ref, requests, ctx)
    if written:  # also when it was all there: the run before this one may have died between the two
        ctx.submit(update_after(messages))
