"""``add``: what was said is remembered as it was said, at once and without a model.

The way of an utterance, top down: ``parse`` has turns made of the message (``memory/ingest/turns``); ``store`` has
memories made of them and stored (``memory/ingest/writer``), and what they correct superseded
(``memory/ingest/corrections``); the follow-up ``mem_update`` brings the working set up to date
(``tiers/working_set``): all memories are valued (``policy/value``), and the policy chooses (``policy/ranking``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from memsched.errors import InvalidMessage
from memsched.handlers.embed_later import embed_later
from memsched.handlers.follow_ups import follow_up, update_after
from memsched.handlers.forget import forget_as_asked, forget_as_asked_before, requests_among, without_requests
from memsched.handlers.memory_events import log_written
from memsched.handlers.results import tell_results
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef
from memsched.memory.exports.pasted import refuse_export
from memsched.memory.ingest.retelling import with_trigrams
from memsched.memory.ingest.turns import Reading, Turn, reading_of
from memsched.memory.ingest.writer import Written
from memsched.messages import MEM_READ_TASK_LABEL, ScheduleMessageItem
from memsched.worker.context import HandlerContext


async def add(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Store the utterances; ``mem_read`` follows where a model is there to take facts from them."""
    turns = await remember(services, cube, messages, ctx)
    if services.reader is not None:
        ctx.submit(_to_read(message) for message in messages if turns.get(message.item_id))


async def remember(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> dict[str, list[Turn]]:
    """Store the utterances, but for requests to forget something, which are followed. Returns what was to be stored."""
    readings = await readings_of(services, cube.ref, messages, ctx)
    everything = {key: reading.turns for key, reading in readings.items()}
    requests, turns = await requests_among(services, cube.ref, messages, everything)
    written = await store(services, cube, messages, turns, ctx)
    await forget_as_asked(services, cube.ref, requests, ctx)
    asked = {(each.message.item_id, each.turn.position) for each in requests}
    await tell_results([each for each in messages if each.item_id in readings], readings, asked, written, ctx)
    return turns


async def parse(
    services: MemoryServices, ref: CubeRef, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> dict[str, list[Turn]]:
    """The turns by message id, parsed once per message handled, but for requests to forget something.

    A follow-up carries the conversation as it came and parses it anew: what a turn is may have changed with the version
    of the worker that takes it. A message whose utterances cannot be read is given up; its neighbours are not.
    """
    readings = await readings_of(services, ref, messages, ctx)
    return without_requests({key: reading.turns for key, reading in readings.items()})


async def readings_of(
    services: MemoryServices, ref: CubeRef, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> dict[str, Reading]:
    """What became of each turn by message id, parsed once; requests to forget something are among the turns."""
    readings: dict[str, Reading] = {}
    for message in messages:
        try:
            if not message.chat_history:
                refuse_export(message.content, "content")
            speaker = await services.speaker(ref, message)
            named = message.model_copy(update={"user_name": speaker})
            reading = reading_of(named, await services.names_of(message)).or_refuse()
            readings[message.item_id] = replace(reading, turns=with_trigrams(reading.turns))
        except InvalidMessage as error:
            ctx.fail(message, error)
    return readings


async def store(
    services: MemoryServices,
    cube: CubeView,
    messages: list[ScheduleMessageItem],
    turns: Mapping[str, list[Turn]],
    ctx: HandlerContext,
) -> dict[str, Written]:
    """Store utterances, tell what became of them, and have the working set updated."""
    said = {key: each for key, each in turns.items() if each}
    written = await services.writer.write_turns(cube.ref, said, messages[0].user_id, emptied=cube.emptied)
    await log_written(services, cube.ref, messages, written, ctx)
    await forget_as_asked_before(services, cube.ref, messages, written, ctx)
    embed_later(messages, written, ctx)
    if stored := [message for message in messages if turns.get(message.item_id)]:
        ctx.submit(update_after(stored))
    return written


def _to_read(message: ScheduleMessageItem) -> ScheduleMessageItem:
    info = {**(message.info or {}), "read_for": message.item_id}
    return follow_up(message, MEM_READ_TASK_LABEL, message.content, info, chat_history=message.chat_history)
