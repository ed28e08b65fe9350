"""``mem_read``: read a conversation thoroughly. With a model, facts, preferences and events are taken from it."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from memsched.handlers.add import keep, readable, tell
from memsched.handlers.admission import follow_up
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turns import Turn
from memsched.memory.ingest.writer import Statement, Written
from memsched.memory.model import Memory
from memsched.messages import MEM_UPDATE_TASK_LABEL, ScheduleMessageItem
from memsched.worker.context import HandlerContext

log = structlog.get_logger(__name__)


async def mem_read(
    services: MemoryServices, ref: CubeRef, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Utterances are stored as they were said, whatever the model does; what it finds comes beside them.

    ``info.read_for``: the message (of ``add``) that stored the utterances already, whose memories these are.
    """
    turns = readable(messages, ctx)
    unread = [message for message in messages if not _read_for(message)]
    kept = {message.item_id: turns[message.item_id] for message in unread if message.item_id in turns}
    if kept:
        await keep(services, ref, unread, kept, ctx)
    if services.llm is None:
        return
    found: dict[str, list[dict[str, Any]]] = dict(ctx.resume or {}) if len(messages) == 1 else {}

    async def ask(message: ScheduleMessageItem) -> None:
        found[message.item_id] = await _extract(services, turns[message.item_id])
        # What a model says differs each time: the next run must go on with this, or it would remember twice.
        await ctx.checkpoint({message.item_id: found[message.item_id]}, message)

    await asyncio.gather(
        *(ask(message) for message in messages if message.item_id not in found and turns.get(message.item_id))
    )
    readings: dict[str, Written] = {}
    for message in messages:
        if claims := found.get(message.item_id):
            of = _read_for(message) or message.item_id
            stored = await _stored(services, ref, of, turns[message.item_id])
            statements = [
                _statement(of, number, claim, turns[message.item_id], stored) for number, claim in enumerate(claims)
            ]
            readings[message.item_id] = await services.writer.write_statements(ref, of, statements, message.user_id)
    await tell(services, ref, messages, readings, ctx)
    for message in messages:
        # An unread message's own follow-up, from keep(), comes after this call, and so sees what was found.
        if _read_for(message) and message.item_id in readings:
            ctx.submit(follow_up(message, MEM_UPDATE_TASK_LABEL, "", {"refresh": True}))


def _read_for(message: ScheduleMessageItem) -> str:
    return str((message.info or {}).get("read_for") or "")


async def _extract(services: MemoryServices, turns: list[Turn]) -> list[dict[str, Any]]:
    """What the model found, verified against the turns; [] when it found nothing, or failed."""
    from memsched.llm.errors import LLMError
    from memsched.llm.extraction import SourceTurn, extract

    assert services.llm is not None
    sources = [SourceTurn(turn.speaker, turn.text, turn.at.isoformat()) for turn in turns]
    try:
        extracted = await extract(services.llm, sources)
    except LLMError as error:
        services.llm.counters.fell_back("extract", error)
        log.warning(
            "the model did not help; the conversation is remembered as it was said",
            action="memory.local_form",
            task="extract",
            error=str(error),
        )
        return []
    # Without the quotes, which have done their duty: a checkpoint may not be of any length.
    return [each.model_dump(mode="json", exclude={"quote"}) for each in extracted]


async def _stored(services: MemoryServices, ref: CubeRef, item_id: str, turns: list[Turn]) -> dict[int, Memory]:
    """The memories of a message's turns, by the turn's number; those kept once elsewhere are missing."""
    from memsched.memory.model import memory_id_for

    ids = {memory_id_for(ref, item_id, turn.position, 0): number for number, turn in enumerate(turns)}
    return {ids[memory_id]: memory for memory_id, memory in (await services.store.get(ref, list(ids))).items()}


def _statement(
    item_id: str, number: int, claim: dict[str, Any], turns: list[Turn], stored: dict[int, Memory]
) -> Statement:
    source = next((index for index in claim["source_turns"] if index < len(turns)), 0)
    turn = turns[source]
    kept = stored.get(source)
    return Statement(
        key=f"model/{number}",
        text=claim["text"],
        kind=claim["kind"],
        about_user=bool(claim["about_user"]),
        at=turn.at,
        speaker="",
        session_id=kept.session_id if kept else "",
        turn=kept.turn if kept else 0,
        sources={
            f"{item_id}#{turns[index].position}": turns[index].reference
            for index in claim["source_turns"]
            if index < len(turns)
        },
        importance=float(claim["importance"]),
        tags=list(claim["tags"]),
    )
